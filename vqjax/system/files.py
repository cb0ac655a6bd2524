"""Files that someone reads appear whole or not at all."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path


class WriteError(OSError):
    """What could not be written, why, and how much room there is."""

    def __init__(self, path: Path, error: OSError, needed: int = 0):
        """`needed` bytes, if that is known."""
        super().__init__(error.errno or errno.EIO, error.strerror or str(error), str(path))
        self.needed = needed

    def __str__(self) -> str:
        there = next((place for place in Path(self.filename).parents if place.is_dir()), Path.cwd())
        needed = f"{self.needed:,} bytes needed, " if self.needed else ""
        return f"{self.filename} cannot be written to: {self.strerror}\n{needed}{shutil.disk_usage(there).free:,} free"


@contextlib.contextmanager
def wrap_write_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """While entered, an OSError is Unwritten, of that path."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(path, error, needed) from error


@contextlib.contextmanager
def atomic_write(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix, that takes its place when the block ends well.

    If it is to be `durable`, the file is there even if the machine loses power right after. Raises Unwritten.
    """
    temporary = _temporary(path.with_suffix(""), path.suffix)
    with wrap_write_errors(path):
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
    """A hidden name beside a path; what a process that was killed has left under such a name is removed."""
    stem = f".{path.name}.tmp"
    for left in path.parent.glob(f"{glob.escape(stem)}*{glob.escape(suffix)}"):
        number = left.name.removeprefix(stem).removesuffix(suffix)
        if number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return path.with_name(f"{stem}{os.getpid()}{suffix}")


def _runs(process: int) -> bool:
    """Whether a process of this number runs, as far as can be told."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def require_empty_directory(out: str | Path, expected: str = "an empty directory or none") -> Path:
    """The directory of --out. Raises InputError unless it is empty or not there."""
    directory = absolute_path(out, "--out")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(f"--out={out} is in use: expected {expected}")
    return directory


@contextlib.contextmanager
def atomic_directory(directory: Path) -> Iterator[Path]:
    """Yields a temporary directory whose files are in `directory`, new or empty, when the block ends well.

    A new one appears whole. An empty one stays what it is, be it a mount point or the current directory. Raises
    Unwritten.
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
    """JSON, in which a number that is not finite is null: JSON has no NaN."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(value), indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, durably. Raises Unwritten."""
    with atomic_write(path, durable=True) as temporary:
        temporary.write_text(to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text())


def file_checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
