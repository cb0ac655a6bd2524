"""Paths that a user gives."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from vqjax.system.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # gs://…, also as Path prints it; one letter is a drive


def expand_path(path: str | Path, key: str) -> Path:
    """Return a path of this machine, with `~` expanded.

    Raises InputError, which names `key`, for an address such as gs://… and for text that is no path.
    """
    text = str(path)
    if _ADDRESS.match(text):
        raise InputError(f"{key}={text}: expected a path of this machine, or one that is mounted on it, not an address")
    try:
        if "\0" in text:
            raise ValueError("it has a null character")
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as error:  # no such user
        raise InputError(f"{key}={text!r}: expected a path: {error}") from error


def absolute_path(path: str | Path, key: str) -> Path:
    """Return the absolute path of `expand_path`."""
    return expand_path(path, key).absolute()


def output_path(out: str | Path, ending: str, beside: Sequence[str] = ()) -> Path:
    """Return the absolute path of --out, a file to be written, with others of the same name beside it.

    Args:
      out: as it was given, or what it is by default.
      ending: that it must have.
      beside: endings of the others.

    Raises:
      InputError: it has another ending, there is no such directory, or one of the files cannot be written.
    """
    path = absolute_path(out, "--out")
    if path.suffix != ending or not path.parent.is_dir():
        raise InputError(f"--out={path}: expected a path that ends in {ending}, in a directory that exists")
    require_writable(path, *map(path.with_suffix, beside))
    return path


def require_writable(*paths: Path) -> None:
    """Raise InputError, which names --out, unless all files of one directory can be written."""
    if any(path.is_dir() for path in paths) or not os.access(paths[0].parent, os.W_OK):
        expected = "a file" if len(paths) == 1 else "files"
        names = " and ".join(path.name for path in paths)
        raise InputError(f"--out={paths[0]}: expected {expected} that can be written, {names}")


def cache_root() -> Path:
    """Return the directory of all caches, XDG_CACHE_HOME/vqjax or ~/.cache/vqjax, which may be deleted at any time.

    Raises InputError if XDG_CACHE_HOME is no path of this machine, or there is no home directory.
    """
    return absolute_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "vqjax"
