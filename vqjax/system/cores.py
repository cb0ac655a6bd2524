"""The processor's cores."""

import os


def num_cores() -> int:
    """How many of them this process may use, where the system tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
