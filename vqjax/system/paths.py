"""Paths that a user gives."""

import os
import re
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


def cache_root() -> Path:
    """Return the directory of all caches, XDG_CACHE_HOME/vqjax or ~/.cache/vqjax, which may be deleted at any time.

    Raises InputError if XDG_CACHE_HOME is no path of this machine, or there is no home directory.
    """
    return absolute_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "vqjax"
