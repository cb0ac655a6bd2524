"""The lock of a workdir: one process at a time trains there.

.lock    JSON of who has it: host, process, since when; gone when the run ends

What counts is the kernel's lock on the file. It goes with its process, however that ends: a file that is left behind
locks nothing.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from vqjax.system.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

_NAME = ".lock"
_PATIENCE = 1.0  # seconds until whoever has just locked the file must have written who it is


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """While entered, nobody else enters for the directory. It is made if need be, and is gone after if it stayed empty.

    Where nothing can be locked, on Windows and where one cannot write, nothing is: what writes there later says why.

    Raises:
      InputError: another process has it, with its host and number.
    """
    path = directory / _NAME
    made = [parent for parent in path.parents if not parent.exists()]
    file = _lock(path) if fcntl else None
    try:
        yield
    finally:
        if file:
            _unlock(file, path)
        for parent in made:
            with contextlib.suppress(OSError):  # not empty, or not there
                parent.rmdir()


def _lock(path: Path) -> IO[str] | None:
    """The file, open and locked; None if that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            holder = _described(_holder(file, _PATIENCE))
        raise InputError(
            f"--workdir={path.parent} is in use by {holder}\nExpected another workdir, or that one to have ended"
        ) from None
    except OSError:  # a disk without locks
        file.close()
        return None
    if not _is(file, path):  # whoever had it has removed it in the meantime
        file.close()
        return _lock(path)
    if before := _holder(file):
        print(f"{path} was left behind by {_described(before)}; taken over")
    with contextlib.suppress(OSError):  # a full disk: it is locked all the same
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": time.ctime()}))
        file.flush()
    return file


def _unlock(file: IO[str], path: Path) -> None:
    """Removes the file, and then lets it go: who gets it then sees that it is no longer the one of that name."""
    with contextlib.suppress(OSError):
        if _is(file, path):
            path.unlink()
    with contextlib.suppress(OSError):
        file.close()


def _is(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one that is there now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: IO[str], patience: float = 0.0) -> dict[str, Any]:
    """What a lock says of who has it, {} if nothing, after so many seconds of asking again."""
    until = time.monotonic() + patience
    while True:
        file.seek(0)
        try:
            return dict(json.load(file))
        except (OSError, ValueError, TypeError):  # nothing yet, or only a part
            if time.monotonic() >= until:
                return {}
        time.sleep(0.02)


def _described(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}"
