"""Images to discrete codes and back, models of the codes, and their use, in JAX.

`import vqjax` is quick: what needs JAX is imported when it is first asked for (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

from vqjax.system.extras import install_hint
from vqjax.system.version import __version__

if TYPE_CHECKING:
    from vqjax.inference.models import Classifier, Prior, Tokenizer, get_config, load
    from vqjax.inference.training import train

__all__ = ["Classifier", "Prior", "Tokenizer", "__version__", "get_config", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "vqjax.inference.training" if name == "train" else "vqjax.inference.models"
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError as error:
            if hint := install_hint(error):
                raise ImportError(hint, name=error.name) from error
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
