"""Files that someone reads appear whole or not at all."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqjax.core.config import InputError
from vqjax.core.paths import local


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix, that takes its place when the block ends well."""
    temporary = path.with_name(f".{path.stem}.tmp{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def unused(out: str | Path, expected: str = "an empty directory or none") -> Path:
    """The directory of --out. Raises InputError unless it is empty or not there."""
    directory = local(out, "--out")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise InputError(f"--out={out} is in use: expected {expected}")
    return directory


@contextlib.contextmanager
def filling(directory: Path) -> Iterator[Path]:
    """Yields a temporary directory whose files are in `directory`, new or empty, when the block ends well.

    A new one appears whole. An empty one stays what it is, be it a mount point or the current directory.
    """
    directory = directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    new, name = not directory.exists(), f".{directory.name}.tmp{os.getpid()}"
    temporary = directory.with_name(name) if new else directory / name
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
    """Writes `value` as indented JSON."""
    with replacing(path) as temporary:
        temporary.write_text(to_json(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text())


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
