"""Several processes that train one run together, each with its own devices, on one host or on many.

The first process leads: it alone reads and writes the run's directory. The others work in a temporary one, so that all
do the same, and receive from the leader what it read.
"""

import collections
import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vqjax.ops import axes
from vqjax.runs.devices.counts import max_in_flight
from vqjax.runs.devices.layouts import DeviceLayout
from vqjax.system import process
from vqjax.system.cluster import ClusterSpec
from vqjax.system.errors import InputError

_HEARTBEAT = 30  # seconds after which a silent process counts as dead
_COMMON_STATUSES = (0, 3)  # exit statuses with which all processes end; those of signals, from 128 on, are others


def run(spec: ClusterSpec | None, train: Callable[[], int]) -> int:
    """Call `train` as one of the processes of a cluster, and return its exit status.

    Raises InputError if the processes do not find each other.
    """
    if spec is None:
        return train()
    _join(spec)
    if not is_leader():
        sys.stdout = open(os.devnull, "w", errors="backslashreplace")  # all would say the same
    status = 1
    try:
        status = process.exit_status(train)
    except jax.errors.JaxRuntimeError as error:
        print(f"error: {_describe_loss(error)}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        if status == process.OUTPUT_UNREAD or status not in _COMMON_STATUSES and status < 128:
            # Not the usual exit, in which JAX waits for the others, who may be waiting for this one.
            sys.stdout.flush()
            print(f"process {jax.process_index()} of {jax.process_count()} has ended", file=sys.stderr, flush=True)
            os._exit(status)
    return status


def _join(spec: ClusterSpec) -> None:
    try:
        jax.distributed.initialize(
            spec.coordinator or None,
            spec.processes or None,
            None if spec.process < 0 else spec.process,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(f"the processes of the run do not find each other: {reason}") from error


def _describe_loss(error: Exception) -> str:
    """Return what to tell when another process is gone."""
    reason = str(error).strip().partition("\n")[0][:150]
    return (
        f"another process has ended, or cannot be reached ({reason})\n"
        "Its own output says why; the same commands resume from the latest checkpoint"
    )


def is_leader() -> bool:
    """Return whether this process reads and writes the run's directory."""
    return jax.process_index() == 0


def leader_first(function: Callable[[], Any]) -> Any:
    """Call a function in the leader process first, then in the others, who find what it has put in a cache."""
    result = function() if is_leader() else None
    broadcast_json(None)
    return result if is_leader() else function()


@contextlib.contextmanager
def leader_directory(path: str | Path) -> Iterator[str | Path]:
    """Yield the run's directory in the leader process, and a temporary one in the others."""
    if is_leader():
        yield path
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)


def broadcast_arrays(tree: Any) -> Any:
    """Return the leader's tree of host arrays, bit for bit, in all processes.

    In the others the leaves of `tree` only give the shapes and dtypes.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    # As bytes, in words: sent as numbers, -0 would arrive as 0, and float64 as float32.
    data = b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)
    words = np.frombuffer(data + bytes(-len(data) % 4), np.uint32)
    data, offset, received = np.asarray(multihost_utils.broadcast_one_to_all(words)).tobytes(), 0, []
    for leaf in leaves:
        received.append(np.frombuffer(data, leaf.dtype, leaf.size, offset).reshape(leaf.shape))
        offset += leaf.nbytes
    return jax.tree.unflatten(structure, received)


def broadcast_json(value: Any) -> Any:
    """Return the leader's JSON value in all processes; tuples become lists."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(broadcast_arrays(np.array(text.size)))
    return json.loads(broadcast_arrays(text if is_leader() else np.zeros(size, np.uint8)).tobytes())


class MaxOverProcesses:
    """The largest of each number over all processes, known to all at the same step, so that they act alike."""

    def __init__(self, program: DeviceLayout):
        self._program, self._pending = program, collections.deque[Any]()
        self._largest = program.compile(lambda _, batch: jax.lax.pmax(batch["number"].max(0), axes.BATCH))

    def __call__(self, *numbers: int) -> list[int]:
        """Return the largest numbers as of some steps ago, so that no step waits for them; zeros at first."""
        if jax.process_count() == 1:
            return [*numbers]
        rows = np.tile(np.array(numbers, np.int32), (jax.local_device_count(), 1))
        self._pending.append(self._largest(self._program.replicate({}), self._program.shard({"number": rows})))
        if len(self._pending) <= max_in_flight():
            return [0] * len(numbers)
        return [int(number) for number in self._program.collect(self._pending.popleft())]
