"""The place of a process among those that train together."""

import os
from typing import NamedTuple

from vqjax.system.errors import InputError

FLAGS: dict[str, tuple[int | bool | str, str]] = {  # of commands that several processes run: (default, help)
    "coordinator": ("", "HOST:PORT of the first of several processes that train together (docs/devices.md)"),
    "processes": (0, "number of these processes"),
    "process": (-1, "number of this one, from 0"),
    "distributed": (False, "take all three from SLURM, Open MPI or Kubernetes"),
}


class ClusterSpec(NamedTuple):
    """The other processes, and the number of this one.

    Attributes:
      coordinator: HOST:PORT of the first process; "": the cluster tells.
      processes: number of processes; 0: the cluster tells.
      process: number of this process, from 0; -1: the cluster tells.
    """

    coordinator: str
    processes: int
    process: int


def cluster_spec(coordinator: str, processes: int, process: int, distributed: bool) -> ClusterSpec | None:
    """Return the cluster that flags, or else the environment, describe; None for a process on its own.

    Args:
      coordinator, processes, process: see ClusterSpec; the flags, with the values that leave it to the environment.
      distributed: the cluster (SLURM, Open MPI, Kubernetes) tells what neither says.

    Raises:
      InputError: only a part is given.
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
            "process, their\nnumber, and the number of this one, from 0; or --distributed alone under SLURM, Open MPI "
            "or Kubernetes"
        )
    return ClusterSpec(coordinator, processes, process)


def _number(name: str, default: int) -> int:
    """Return the number in an environment variable. Raises InputError if it is no number."""
    value = os.environ.get(name, "")
    if value and not value.isdecimal():
        raise InputError(f"{name}={value}: expected a whole number")
    return int(value) if value else default
