"""Platforms: which of two ways to the same numbers a program has, one for CPUs and one for accelerators.

Only this room names a platform. The others call operations that have both ways, or ask `on_cpu()`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

EXPORT_PLATFORMS = ("cpu", "cuda")  # where exported programs run
_traced_for = jax.make_user_context()  # the platform that a function is traced for; None: any


def trace_for(device: jax.Device, function: Callable) -> Callable:
    """Return the function, traced for the platform of `device` alone: the other ways cost no time."""
    return _trace_for(device.platform, function)


def trace_for_accelerator(function: Callable) -> Callable:
    """Return the function, traced as for a GPU, whatever devices there are."""
    return _trace_for("gpu", function)


def _trace_for(platform: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with _traced_for(platform):
            return function(*args, **kwargs)

    return traced


def by_platform(*operands: Any, cpu: Callable, default: Callable) -> Any:
    """Apply `cpu` or `default`, two ways to the same numbers, to the operands.

    Under `trace_for` the choice is made at once. Elsewhere it is made when the program is lowered for a platform, so
    that one exported on a CPU has the way of each platform.
    """
    if _traced_for.value is None:
        return jax.lax.platform_dependent(*operands, cpu=cpu, default=default)
    return (cpu if on_cpu() else default)(*operands)


def on_cpu() -> bool:
    """Return whether a CPU computes: the platform that is being traced for or, outside `trace_for`, JAX's default."""
    return (_traced_for.value or jax.default_backend()) == "cpu"


def jit_fast_compile(function: Callable, level: int = 1) -> Any:
    """Jit a function that is called a few times: a CPU compiles it in a third of the time, to the same bits.

    `level` is LLVM's level of optimization. Level 0, for one call, compiles in at most two thirds of the time of level
    1, and the last bits of the results differ; drawing ten million random numbers then takes a second.
    """
    options = {"xla_backend_optimization_level": level} if on_cpu() else {}
    return jax.jit(trace_for(jax.devices()[0], function), compiler_options=options)
