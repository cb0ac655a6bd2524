"""The processor's cores."""

import os


def num_cores() -> int:
    """Number of cores that this process may use; of all cores, where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
