"""Images to discrete codes and back, models of the codes, and their use, in JAX.

`import vqjax` is quick: what needs JAX is imported when it is first asked for (PEP 562).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqjax.training.loop import train

__version__ = "0.1.0"
__all__ = ["train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from vqjax.training.loop import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
