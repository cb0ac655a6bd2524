"""Images to discrete codes and back, models of the codes, and their use, in JAX.

`import vqjax` is quick: what needs JAX is imported when it is first asked for (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

from vqjax.system.version import __version__

if TYPE_CHECKING:
    from vqjax.inference.api import Classifier, Prior, Samples, Tokenizer, config, load
    from vqjax.training.loop import train

__all__ = ["Classifier", "Prior", "Samples", "Tokenizer", "__version__", "config", "load", "train"]

_WHERE = {"train": "vqjax.training.loop"}  # the others are in vqjax.inference.api


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_WHERE.get(name, "vqjax.inference.api")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
