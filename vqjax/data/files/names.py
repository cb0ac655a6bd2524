"""Names that users gave, as text for people."""

import unicodedata
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"  # letters of some scripts are written with them
_SHOWN = 3


def printable(text: str) -> str:
    """Return a name in one line that any terminal can show: control characters and bytes that are no text escaped."""
    return "".join(character if _is_text(character) else _escape(character) for character in text)


def some(names: Sequence[str], shown: int = _SHOWN) -> str:
    """Return the first names of a list for a message, and "…" if there are more."""
    return ", ".join(map(printable, names[:shown])) + ", …" * (len(names) > shown)


def number_of(count: int, noun: str, plural: str = "") -> str:
    """Return "1 file", or "2 files"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def _is_text(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
