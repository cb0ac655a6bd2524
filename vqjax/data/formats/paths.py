r"""Paths of images as lines of text: one a line, reversible, whatever bytes a name has.

A character that is printed stands for itself; a backslash is `\\`, and each byte of anything else `\xNN`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2}))")


def escape_path(path: str) -> str:
    """Return a path, in which bytes that are no text are surrogates, as one line of text."""
    return "".join(character if _is_plain(character) else _escape(character) for character in path)


def unescape_path(text: str) -> str:
    """Return the path that `escape_path` made a line of."""
    content, end = b"", 0
    for match in _ESCAPE.finditer(text):
        content += os.fsencode(text[end : match.start()])
        content += bytes.fromhex(match[1]) if match[1] else b"\\"
        end = match.end()
    return os.fsdecode(content + os.fsencode(text[end:]))


def write_paths(file: Path, paths: Iterable[str]) -> None:
    """Write a text file with a path a line, escaped."""
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{escape_path(path)}\n" for path in paths)


def read_paths(file: Path) -> list[str]:
    """Return the paths of a file of `write_paths`."""
    return [unescape_path(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def _is_plain(character: str) -> bool:
    return character.isprintable() and character != "\\"


def _escape(character: str) -> str:
    return "\\\\" if character == "\\" else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
