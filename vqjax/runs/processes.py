"""Several processes that train one run together, each with its own devices, on one host or on many.

The first one leads: it alone reads and writes the run's directory. The others have theirs in a temporary one, so that
all do the same, and learn from it what was read.
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
from vqjax.runs.devices import DeviceLayout, max_in_flight
from vqjax.system import process
from vqjax.system.cluster import ClusterSpec
from vqjax.system.errors import InputError

_HEARTBEAT = 30  # seconds after which a process that is not heard of counts as dead
_TOGETHER = (0, 3)  # and those of signals: statuses with which all processes end


def run(where: ClusterSpec | None, train: Callable[[], int]) -> int:
    """What `train` returns, called as one of the processes at a place.

    Raises InputError if they do not find each other.
    """
    if where is None:
        return train()
    _join(where)
    if not is_leader():
        sys.stdout = open(os.devnull, "w")  # all would say the same
    status = 1
    try:
        status = process.exit_status(train)
    except jax.errors.JaxRuntimeError as error:
        print(f"error: {_lost(error)}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        if status == process.OUTPUT_UNREAD or status not in _TOGETHER and status < 128:
            # Not the usual end, at which JAX waits for the others, who may be waiting for this one.
            sys.stdout.flush()
            print(f"process {jax.process_index()} of {jax.process_count()} has ended", file=sys.stderr, flush=True)
            os._exit(status)
    return status


def _join(where: ClusterSpec) -> None:
    try:
        jax.distributed.initialize(
            where.coordinator or None,
            where.processes or None,
            None if where.process < 0 else where.process,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(f"the processes of the run do not find each other: {reason}") from error


def _lost(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0][:150]
    return (
        f"another one has ended, or cannot be reached ({reason})\n"
        "Its own output says why; the same commands go on from the latest checkpoint"
    )


def is_leader() -> bool:
    """Whether this is the process that reads and writes the run's directory."""
    return jax.process_index() == 0


def leader_first(function: Callable[[], Any]) -> Any:
    """What `function` gives, called first in the process that leads: the others find what it has put in a cache."""
    found = function() if is_leader() else None
    broadcast_json(None)
    return found if is_leader() else function()


@contextlib.contextmanager
def leader_directory(path: str | Path) -> Iterator[str | Path]:
    """The run's directory for the process that leads; for another, a temporary one."""
    if is_leader():
        yield path
    else:
        with tempfile.TemporaryDirectory() as other:
            yield Path(other)


def broadcast_arrays(tree: Any) -> Any:
    """A tree of host arrays as the process that leads has it, bit for bit; in the others the leaves only say the
    shapes and dtypes.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    # As bytes, in words: sent as numbers, -0 would arrive as 0, and float64 as float32.
    data = b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)
    words = np.frombuffer(data + bytes(-len(data) % 4), np.uint32)
    data, at, found = np.asarray(multihost_utils.broadcast_one_to_all(words)).tobytes(), 0, []
    for leaf in leaves:
        found.append(np.frombuffer(data, leaf.dtype, leaf.size, at).reshape(leaf.shape))
        at += leaf.nbytes
    return jax.tree.unflatten(structure, found)


def broadcast_json(value: Any) -> Any:
    """A value, of what JSON has, as the process that leads has it; lists for tuples."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(broadcast_arrays(np.array(text.size)))
    return json.loads(broadcast_arrays(text if is_leader() else np.zeros(size, np.uint8)).tobytes())


class MaxOverProcesses:
    """Numbers of which all processes take the largest that any has, at the same step, so that they act alike."""

    def __init__(self, program: DeviceLayout):
        self._program, self._pending = program, collections.deque[Any]()
        self._largest = program.compile(lambda _, batch: jax.lax.pmax(batch["number"].max(0), axes.BATCH))

    def __call__(self, *numbers: int) -> list[int]:
        """Those of as many steps ago as are in flight, so that no step waits for it; zeros before."""
        if jax.process_count() == 1:
            return [*numbers]
        rows = np.tile(np.array(numbers, np.int32), (jax.local_device_count(), 1))
        self._pending.append(self._largest(self._program.replicate({}), self._program.shard({"number": rows})))
        if len(self._pending) <= max_in_flight():
            return [0] * len(numbers)
        return [int(number) for number in self._program.collect(self._pending.popleft())]
