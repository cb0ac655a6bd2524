"""Processes that make batches ahead of the step, and end with the process that reads them.

Each has slots of shared memory, which hold a batch each, and a pipe: a slot is free, a slot is full. Whichever process
dies, the other finds the pipe closed.
"""

import ast
import atexit
import contextlib
import itertools
import multiprocessing
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.system.errors import InputError, WorkerError

_SLOTS = 2  # batches that a process makes before they are asked for
_ALIGNMENT = 64  # bytes
_TIMEOUT = 5.0  # seconds for the end of a process
_IGNORED = "SIGINT", "SIGTERM", "SIGHUP"  # sent to whole groups of processes: the reader decides what to do

Batch = Mapping[str, np.ndarray]
Specs = list[tuple[str, str, tuple[int, ...], int]]  # name, dtype, shape and first byte of each array of a batch


def worker_batches(make: Callable[[int], dict], start: int, workers: int) -> Iterator[dict]:
    """Yield make(start), make(start + 1), …, whatever the number of processes.

    Args:
      make: a step -> its batch, arrays of the same shapes in every step; pickled for the processes.
      start: first step, which this process makes.
      workers: number of processes.

    Raises:
      InputError: the processes cannot be started; or what `make` raises.
      WorkerError: a process has died.
    """
    require_main_guard(f"config.data.workers={workers}")
    first = make(start)
    pool = [_Worker(make, first, start + 1 + number, workers) for number in range(workers)]
    try:
        yield first
        for worker in itertools.cycle(pool):
            yield worker.take()
    finally:
        for worker in pool:
            worker.end()


class _Worker:
    """A process that makes every n-th batch."""

    def __init__(self, make: Callable[[int], Batch], example: Batch, first: int, stride: int):
        """Start the process on the batches of the steps first, first + stride, …, which are laid out like `example`."""
        context = multiprocessing.get_context("spawn")
        specs, size = _specs(example)
        memory = [context.RawArray("B", size) for _ in range(_SLOTS)]  # type: ignore[attr-defined]
        self._slots = itertools.cycle([_views(slot, specs) for slot in memory])
        self._connection, other = context.Pipe()
        arguments = other, memory, specs, make, first, stride
        self._process = context.Process(target=_serve, args=arguments, name="decode", daemon=True)
        try:
            self._process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"config.data.workers={stride}: the data set cannot be sent to other processes: {error}\n"
                "config.data.workers=0 decodes in threads of this one"
            ) from error
        other.close()
        atexit.register(self.end)  # before multiprocessing waits for its children
        for _ in range(_SLOTS):
            self._connection.send(None)

    def take(self) -> dict:
        """Return the next batch."""
        try:
            error = self._connection.recv()
        except (EOFError, OSError):
            raise WorkerError(self._last_words()) from None
        if error is not None:
            raise error
        batch = {name: view.copy() for name, view in next(self._slots).items()}
        with contextlib.suppress(OSError):  # it has died since: the next batch will tell
            self._connection.send(None)
        return batch

    def end(self) -> None:
        """End the process at once: nothing that it makes is kept."""
        atexit.unregister(self.end)
        self._connection.close()
        self._process.kill()
        self._process.join(_TIMEOUT)

    def _last_words(self) -> str:
        self._process.join(_TIMEOUT)
        status = self._process.exitcode
        how = f"ended with status {status}"
        if status is not None and status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        memory = ", as happens where memory runs out" if status == -9 else ""
        return f"a process that decodes images {how}{memory}; the same command goes on from the last checkpoint"


def _serve(
    connection: Connection, memory: list[Any], specs: Specs, make: Callable[[int], Batch], first: int, stride: int
) -> None:
    """Make batches into slots as they are asked for, until the reader is gone."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    slots = itertools.cycle([_views(slot, specs) for slot in memory])
    with contextlib.suppress(EOFError, OSError):
        for step in itertools.count(first, stride):
            connection.recv()
            connection.send(_attempt(make, step, next(slots)))


def _attempt(make: Callable[[int], Batch], step: int, slot: Batch) -> Exception | None:
    """Make a batch into a slot. Returns the exception that this raised, as one that can be sent."""
    try:
        for name, array in make(step).items():
            slot[name][...] = array
        return None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
            return error
        except Exception:
            return RuntimeError("".join(traceback.format_exception(error)))


def _specs(example: Batch) -> tuple[Specs, int]:
    """Return where each array of a batch lies in a slot, and the bytes of a slot."""
    specs, size = [], 0
    for name, array in example.items():
        specs.append((name, array.dtype.str, array.shape, size))
        size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    return specs, max(size, 1)


def _views(slot: Any, specs: Specs) -> Batch:
    """Return the arrays of a slot."""
    content = np.frombuffer(slot, np.uint8)
    views = {}
    for name, dtype, shape, start in specs:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        views[name] = content[start : start + size].view(dtype).reshape(shape)
    return views


def require_main_guard(key: str) -> None:
    """Raise InputError in a script that runs this outside of `if __name__ == "__main__":`.

    Each process imports the script, and would run all of it again.
    """
    main = sys.modules["__main__"]
    lines = [
        line
        for frame, line in traceback.walk_stack(None)
        if frame.f_globals is vars(main) and frame.f_code.co_name == "<module>"
    ]
    try:
        file = Path(main.__file__ or "")
        module = ast.parse(file.read_bytes())
    except (AttributeError, OSError, SyntaxError, ValueError):  # a notebook or prompt: nothing is imported again
        return
    guards = [statement for statement in module.body if isinstance(statement, ast.If) and _asks_for_name(statement)]
    if any(not any(guard.lineno <= line <= (guard.end_lineno or 0) for guard in guards) for line in lines):
        raise InputError(
            f'{key}: {file.name} has to call this inside `if __name__ == "__main__":`, since each process imports it; '
            "or set config.data.workers=0"
        )


def _asks_for_name(statement: ast.If) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))
