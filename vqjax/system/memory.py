"""The memory of this process: on a CPU, what a training step frees is there for the next one."""

import ctypes
import importlib.util

from vqjax.system import cores

# Of mallopt: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD. For one arena threads would wait, those that
# compile, too; by itself glibc has so many that each thread would keep what it has freed. The arena of a thread
# consists of heaps of 64 MiB: an empty one is given back where M_TOP_PAD is free in the one before, here never.
_SETTINGS = {-8: 2 * cores.num_cores(), -4: 0, -1: 2**31 - 1, -2: 2**26}


def retain_freed_memory() -> None:
    """From now on, before threads are started; not where JAX has a plug-in for an accelerator, whose host computes
    little.

    A step asks for tens of MiB at once, and frees them at its end. More than 32 MiB glibc gives back to the kernel,
    which clears each page of them for the next step: up to a sixth of its time. From now on that is so of more than
    64 MiB only, which no arena of a thread holds. Another C library is left as it is.
    """
    if importlib.util.find_spec("jax_plugins"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in _SETTINGS.items():
        mallopt(parameter, value)
