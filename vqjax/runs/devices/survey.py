"""Survey of devices: what JAX sees in each process, whether the processes agree, and whether a sum over all works."""

import json
import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqjax.ops import axes
from vqjax.ops.platforms import on_cpu
from vqjax.system.cores import num_cores
from vqjax.system.version import __version__

_MAX_BYTES = 4_096  # of the facts of a process, as JSON
_MUST_AGREE = "vqjax", "jax", "python", "platform", "kind", "local_devices", "devices"


class Survey(NamedTuple):
    """Devices of a run.

    Attributes:
      processes: facts of each process, in order: `host`, `kind`, `local_devices`, and so on.
      problems: lines on what is wrong; none if the processes agree.
      seconds: that a sum over all devices took, its compilation included.
    """

    processes: Sequence[Mapping[str, Any]]
    problems: Sequence[str]
    seconds: float


def survey() -> Survey:
    """Look at the devices of all processes. The same in each of them."""
    found = _gathered(_facts())
    started = time.perf_counter()
    total = _sum_over_devices()
    seconds, problems = time.perf_counter() - started, find_problems(found)
    if total != jax.device_count():
        problems.append(f"a sum of 1 over the {jax.device_count()} devices is {total:g}")
    return Survey(found, problems, seconds)


def _facts() -> dict[str, Any]:
    """Devices and hosts that this process sees."""
    first = jax.local_devices()[0]
    memory = (first.memory_stats() or {}).get("bytes_limit")
    return {
        "host": socket.gethostname(),
        "vqjax": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "platform": first.platform,
        "kind": first.device_kind,
        "local_devices": jax.local_device_count(),
        "devices": jax.device_count(),
        "memory": memory,
        "cores": num_cores(),
        "unused_gpus": len(_nvidia_devices()) if on_cpu() else 0,
    }


def _nvidia_devices() -> list[Path]:
    """Files of the NVIDIA GPUs that this process may open."""
    return [path for path in Path("/dev").glob("nvidia[0-9]*") if os.access(path, os.R_OK)]


def find_problems(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Find what is wrong with the facts of all processes, a line each."""
    problems = []
    for name in _MUST_AGREE:
        values: dict[Any, list[int]] = {}
        for number, facts in enumerate(found):
            values.setdefault(facts[name], []).append(number)
        if len(values) > 1:
            shown = ", ".join(f"{value} in {_numbers(numbers)}" for value, numbers in values.items())
            problems.append(f"{name.replace('_', ' ')} differ: {shown}")
    for number, facts in enumerate(found):
        if facts["unused_gpus"]:
            problems.append(
                f"process {number} computes on its CPU, and sees {facts['unused_gpus']} NVIDIA GPUs that JAX cannot "
                'use: install it with pip install "jax[cuda12]"'
            )
    return problems


def _numbers(numbers: Sequence[int]) -> str:
    """Return the numbers of processes as text."""
    shown = ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
    return f"process{'es' * (len(numbers) > 1)} {shown}"


def _sum_over_devices() -> float:
    """The sum of a one from each device of all processes, as this process has it."""
    return float(_over_devices(lambda ones: ones.sum(), np.ones(1, np.float32)))


def _gathered(facts: Mapping[str, Any]) -> list[Any]:
    """Facts of all processes, in their order, in all processes."""
    text = np.frombuffer(json.dumps(facts).encode().ljust(_MAX_BYTES, b" "), np.uint8)
    rows = _over_devices(lambda rows: rows, text)
    first = {device.process_index: row for device, row in zip(reversed(jax.devices()), rows[::-1])}
    return [json.loads(first[number].tobytes()) for number in range(jax.process_count())]


def _over_devices(function: Callable[[jax.Array], jax.Array], row: np.ndarray) -> np.ndarray:
    """Apply a function to an array with a row of each device, of which processes may have different numbers."""
    mesh = Mesh(np.array(jax.devices()), (axes.BATCH,))
    sharding, replicated = NamedSharding(mesh, PartitionSpec(axes.BATCH)), NamedSharding(mesh, PartitionSpec())
    parts = [jax.device_put(row[None], device) for device in jax.local_devices()]
    rows = jax.make_array_from_single_device_arrays((jax.device_count(), *row.shape), sharding, parts)
    return np.asarray(jax.jit(function, out_shardings=replicated)(rows).addressable_data(0))
