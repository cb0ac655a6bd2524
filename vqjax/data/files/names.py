"""Lists of names and numbers, as text for people."""

from collections.abc import Sequence

from vqjax.system.text import printable

_SHOWN = 3


def some(names: Sequence[str]) -> str:
    """Return the first names of a list for a message, and "…" if there are more."""
    return ", ".join(map(printable, names[:_SHOWN])) + ", …" * (len(names) > _SHOWN)


def number_of(count: int, noun: str, plural: str = "") -> str:
    """Return "1 file", or "2 files"."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
