"""Fonts for texts of users, which may be in any script."""

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.ft2font import FT2Font

from vqjax.system.text import escape, printable, shorten

_UNFIT = re.compile("last ?resort|blank|emoji", re.IGNORECASE)  # boxes for all characters, or bitmaps


class Font(NamedTuple):
    """A font file and the family that Matplotlib finds it by."""

    family: str
    path: str


DEFAULT = Font("DejaVu Sans", str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")))


class Fonts:
    """Fonts that together have the characters of some texts: DejaVu Sans, and this machine's for what it lacks."""

    def __init__(self, texts: Iterable[str]):
        missing = {*"".join(map(printable, texts))} - _characters(DEFAULT.path)
        self._fonts = [DEFAULT]
        for font in _installed() if missing else ():
            if missing & _characters(font.path):
                self._fonts.append(font)
                missing -= _characters(font.path)

    @property
    def families(self) -> list[str]:
        """The families, for Matplotlib."""
        return [font.family for font in self._fonts]

    def shown(self, text: str, limit: int = 0) -> str:
        """Return a printable text, the characters that no font has as escapes; for `limit` see `shorten`."""
        return shorten("".join(c if self._font(c) else escape(c) for c in printable(text)), limit)

    def runs(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the parts of a shown text, each with the path of its font."""
        for font, characters in groupby(text, lambda character: self._font(character) or DEFAULT):
            yield "".join(characters), font.path

    def _font(self, character: str) -> Font | None:
        return next((font for font in self._fonts if character in _characters(font.path)), None)


@functools.cache
def _characters(path: str) -> frozenset[str]:
    """Return the characters of a font file; none if it cannot be read, or not in any size."""
    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except Exception:  # a font of this machine may be damaged in any way
        return frozenset()


@functools.cache
def _installed() -> list[Font]:
    """Return the fonts of this machine that are upright and of normal weight, one for each family."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager  # reads a list of them

    own, fonts = matplotlib.get_data_path(), []
    upright = [entry for entry in fontManager.ttflist if entry.style == "normal" and entry.weight in (400, "normal")]
    for family in sorted({entry.name for entry in upright if not entry.fname.startswith(own)}):
        if not _UNFIT.search(family):
            with contextlib.suppress(ValueError):  # it has gone since the list was made
                fonts.append(Font(family, str(findfont(FontProperties(family=[family]), fallback_to_default=False))))
    return fonts
