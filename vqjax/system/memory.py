"""Reuse of freed memory: on a CPU a training step finds the memory of the one before."""

import ctypes
import importlib.util

from vqjax.system import cores

_MIB = 2**20
# Parameters of glibc's mallopt, by their numbers in malloc.h.
_SETTINGS = {
    # M_ARENA_MAX. With one arena, threads would wait for each other, those that compile too. By default there are so
    # many that each thread would keep what it has freed.
    -8: 2 * cores.num_cores(),
    -4: 0,  # M_MMAP_MAX: no block gets pages of its own, which would go back to the kernel when it is freed
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: the top of the heap is never given back
    # M_TOP_PAD. A thread's arena consists of heaps of 64 MiB. An empty one is given back only if this much is free in
    # the heap before: never.
    -2: 64 * _MIB,
}


def retain_freed_memory() -> None:
    """Let the C library keep freed memory for the next step; call it before threads start.

    A step allocates tens of MiB at once, and frees them at its end. glibc returns freed blocks above 32 MiB to the
    kernel, which zeroes their pages on reuse: up to a sixth of a step's time. With `_SETTINGS` it returns none. Nothing
    happens with another C library, or where JAX has a plug-in for an accelerator, whose host computes little.
    """
    if importlib.util.find_spec("jax_plugins"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in _SETTINGS.items():
        mallopt(parameter, value)
