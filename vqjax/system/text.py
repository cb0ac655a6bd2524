"""Texts of users, such as names of classes and files, in one line that any output takes."""

import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, and a part of words in some scripts


def printable(text: str) -> str:
    r"""Return a text in which characters that would not show, break the line or act on a terminal are escapes.

    All text from a user's data goes through here on its way to a terminal, a table or a picture. Letters of any script
    stay as they are, spaces of any kind become " ", and a byte that is no text becomes `\xff`.
    """
    return "".join(map(_printable, text))


def printable_lines(text: str) -> str:
    """Return `printable` of each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def shorten(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, the last of which is "…" if some are missing; 0: no limit."""
    return text if not limit or len(text) <= limit else text[: limit - 1] + "…"


def _printable(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if unicodedata.category(character) == "Zs" else escape(character)


def escape(character: str) -> str:
    r"""Return a character as Python writes it in ASCII, such as `\u5bfa`; a byte that is no text as `\xff`."""
    byte = ord(character) - 0xDC00  # of a byte that is no text, see `os.fsdecode`
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()
