"""What a user gives as a path: each goes through here."""

import os
import re
from pathlib import Path

from vqjax.system.errors import InputError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # gs://…, as Path has it too; one letter is a drive


def expand_path(path: str | Path, key: str) -> Path:
    """A path of this machine, `~` expanded. Raises InputError, naming the key, for what is none, such as gs://…."""
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
    """As `expanded`, and absolute."""
    return expand_path(path, key).absolute()


def cache_root() -> Path:
    """The directory of what may be deleted at any time: XDG_CACHE_HOME/vqjax, else ~/.cache/vqjax.

    Raises InputError if that is no path of this machine, or there is no home.
    """
    return absolute_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "vqjax"
