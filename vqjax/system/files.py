"""Files that appear whole or not at all."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import platform
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.system.text import printable


class WriteError(OSError):
    """A path that could not be written: why, and how much room there is."""

    def __init__(self, path: Path, error: OSError, needed: int = 0):
        """Create the error from another one; `needed` is the number of bytes, if it is known."""
        super().__init__(error.errno or errno.EIO, error.strerror or str(error), str(path))
        self.needed = needed

    def __str__(self) -> str:
        directory = next((parent for parent in Path(self.filename).parents if parent.is_dir()), Path.cwd())
        needed = f"{self.needed:,} bytes needed, " if self.needed else ""
        free = f"{shutil.disk_usage(directory).free:,} bytes free"
        return f"{printable(self.filename)} cannot be written to: {self.strerror}\n{needed}{free}"


@contextlib.contextmanager
def wrap_write_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError inside the block into a WriteError of `path`."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(path, error, needed) from error


@contextlib.contextmanager
def atomic_write(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix, that replaces it when the block ends well.

    If it is `durable`, the file is there even if the machine loses power right after. A link at `path` is replaced; the
    file that it points to stays as it is. Raises WriteError.
    """
    with wrap_write_errors(path):
        temporary = _temporary(path.with_suffix(""), path.suffix)
        try:
            yield temporary
            if durable:
                _sync(temporary)
            os.replace(temporary, path)
            if durable and os.name == "posix":
                _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _temporary(path: Path, suffix: str = "") -> Path:
    """Return a hidden path beside `path`, at which nothing lies, not even a link.

    It has the number of this process, and a hash of the host's name: many hosts may share the disk. Temporary files of
    this host's processes that were killed are removed.
    """
    stem = f".{path.name}.{zlib.crc32(os.fsencode(platform.node())):08x}.tmp"
    for remnant in path.parent.glob(f"{glob.escape(stem)}*{glob.escape(suffix)}"):
        number = remnant.name.removeprefix(stem).removesuffix(suffix)
        if number.isdecimal() and (int(number) == os.getpid() or not _is_running(int(number))):
            _remove(remnant)
    return path.with_name(f"{stem}{os.getpid()}{suffix}")


def _remove(path: Path) -> None:
    """Remove a directory or a file, or a link but not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Return whether a process of this number may be running."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


def _sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def require_empty_directory(out: str | Path, expected: str = "an empty directory or none") -> Path:
    """Return the absolute path of the directory --out. Raises InputError unless it is empty or does not exist."""
    directory = absolute_path(out, "--out")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(f"--out={out} is in use: expected {expected}")
    return directory


@contextlib.contextmanager
def atomic_directory(directory: Path) -> Iterator[Path]:
    """Yield a temporary directory whose files are in `directory`, new or empty, when the block ends well.

    A new directory appears whole. An empty one may be a mount point or the current directory: it stays, and gets the
    files one by one. Raises WriteError.
    """
    directory = directory.resolve()
    with wrap_write_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        new = not directory.exists()
        temporary = _temporary(directory if new else directory / directory.name)
        temporary.mkdir()
        try:
            yield temporary
            if new:
                os.replace(temporary, directory)
            else:
                for path in temporary.iterdir():
                    os.replace(path, directory / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON. Numbers that are not finite become null, as JSON has no NaN."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(value), indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, durably. Raises WriteError."""
    with atomic_write(path, durable=True) as temporary:
        temporary.write_text(to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Return the value in a JSON file."""
    return json.loads(path.read_text())


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
