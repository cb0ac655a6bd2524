"""Where a process finds the others that train with it, as it is told."""

import os
from typing import NamedTuple

from vqjax.system.errors import InputError


class ClusterSpec(NamedTuple):
    """Where the others are, and which one this is.

    Attributes:
      coordinator: HOST:PORT of the first process; "": as the cluster says.
      processes: how many there are; 0: as the cluster says.
      process: the number of this one, from 0; -1: as the cluster says.
    """

    coordinator: str
    processes: int
    process: int


def cluster_spec(coordinator: str, processes: int, process: int, distributed: bool) -> ClusterSpec | None:
    """What the flags of a command say, or else the environment; None: a process of its own.

    Raises InputError if only a part of it is said.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    processes = processes or _number("JAX_NUM_PROCESSES", 0)
    process = _number("JAX_PROCESS_ID", -1) if process < 0 else process
    if distributed:
        return ClusterSpec(coordinator, processes, process)
    if not coordinator and not processes and process < 0:
        return None
    if not coordinator or not 0 <= process < processes:
        raise InputError(
            f"--coordinator={coordinator} --processes={processes} --process={process}: expected HOST:PORT of the first "
            "process, how many\nthere are, and the number of this one, from 0; or --distributed alone under SLURM, "
            "Open MPI or Kubernetes"
        )
    return ClusterSpec(coordinator, processes, process)


def _number(name: str, default: int) -> int:
    """Of the environment. Raises InputError if it is none."""
    value = os.environ.get(name, "")
    if value and not value.isdecimal():
        raise InputError(f"{name}={value}: expected a whole number")
    return int(value) if value else default
