"""Two ways to the same numbers, one for CPUs and one for accelerators, and which of them a program has."""

import functools
from collections.abc import Callable
from typing import Any

import jax

_known = jax.make_user_context()  # for which platform what is traced will be compiled; None: it may be any


def trace_for(platform: str, function: Callable) -> Callable:
    """The function, which is compiled for this platform ("cpu", "gpu") alone: no other's way is traced."""

    @functools.wraps(function)
    def known(*args: Any, **kwargs: Any) -> Any:
        with _known(platform):
            return function(*args, **kwargs)

    return known


def by_platform(*operands: Any, cpu: Callable, default: Callable) -> Any:
    """`cpu` or `default` of the operands, which give the same numbers.

    Which of them a program has is decided when it is lowered for a platform, so that an export made on a CPU has each
    platform's own; what is `compiled_for` one has that one's from the start, and is traced in less time.
    """
    if _known.value is None:
        return jax.lax.platform_dependent(*operands, cpu=cpu, default=default)
    return (cpu if _known.value == "cpu" else default)(*operands)


def on_cpu() -> bool:
    """Whether the devices are a CPU's."""
    return jax.default_backend() == "cpu"
