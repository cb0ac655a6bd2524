"""Lock of a workdir: one process at a time trains there.

.lock    JSON of the process that holds it: host, process, since when; removed when the run ends

The lock is the kernel's, on the file. It goes with its process, however that ends: a file that is left behind locks
nothing.
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
from vqjax.system.text import printable

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

_NAME = ".lock"
_PATIENCE = 1.0  # seconds that a process which has just locked the file has to write its name into it


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Keep other processes out of the directory inside the block. It is created, and removed again if it stays empty.

    Nothing is locked on Windows, or where the lock file cannot be written: the first file of the run will report that.

    Raises:
      InputError: another process holds the lock, with its host and number; or the lock file is a link or a directory.
    """
    path = directory / _NAME
    missing = [parent for parent in path.parents if not parent.exists()]
    file = _lock(path) if fcntl else None
    try:
        yield
    finally:
        if file:
            _unlock(file, path)
        for parent in missing:
            with contextlib.suppress(OSError):  # not empty, or not there
                parent.rmdir()


def _lock(path: Path) -> IO[str] | None:
    """Return the lock file, open and locked; None where that is impossible."""
    try:
        file = _open(path)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            holder = _describe(_read_holder(file, _PATIENCE))
        raise InputError(
            f"--workdir={path.parent} is in use by {holder}\nChoose another workdir, or wait until that process ends"
        ) from None
    except OSError:  # a disk without locks
        file.close()
        return None
    if not _is_at(file, path):  # its holder has removed it in the meantime
        file.close()
        return _lock(path)
    if former := _read_holder(file):
        print(printable(f"{path} was left behind by {_describe(former)}; taken over"))
    with contextlib.suppress(OSError):  # a full disk: it is locked all the same
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": time.ctime()}))
        file.flush()
    return file


def _open(path: Path) -> IO[str]:
    """Open the lock file, or create it. A link is not followed: it might be to a file of the user's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"{path} is a link or a directory, which the lock of a run never is\nRemove it")
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    return os.fdopen(number, "a+")


def _unlock(file: IO[str], path: Path) -> None:
    """Remove the file, then release it: whoever locks it next sees that it is no longer at its path."""
    with contextlib.suppress(OSError):
        if _is_at(file, path):
            path.unlink()
    with contextlib.suppress(OSError):
        file.close()


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file is the one that is at the path now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _read_holder(file: IO[str], patience: float = 0.0) -> dict[str, Any]:
    """Return the description of its holder in a lock file; {} if there is none after `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        file.seek(0)
        try:
            return dict(json.load(file))
        except (OSError, ValueError, TypeError):  # nothing yet, or only a part
            if time.monotonic() >= until:
                return {}
        time.sleep(0.02)


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}"
