"""Texts of users, such as class names, in one line that any output takes."""

import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, and a part of words in some scripts


def printable(text: str) -> str:
    r"""Return a text with control characters, line breaks and lone surrogates as escapes such as `\n`."""
    return "".join(map(_printable, text))


def shorten(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, the last of which is "…" if some are missing; 0: no limit."""
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def _printable(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if unicodedata.category(character) == "Zs" else escape(character)


def escape(character: str) -> str:
    r"""Return a character as Python writes it in ASCII, such as `\u5bfa`."""
    return character.encode("unicode_escape").decode()
