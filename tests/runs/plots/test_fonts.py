"""Fonts for texts of users."""

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from PIL import Image

from vqjax.runs import plots
from vqjax.runs.plots import fonts
from vqjax.runs.plots.fonts import Fonts

ELSEWHERE = "\u5bfa"  # a character that DejaVu Sans lacks


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A font of this machine that has it, as a black square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(ELSEWHERE): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000, usWinDescent=0)
    builder.setupPost()
    path = tmp_path / "squares.ttf"
    builder.save(path)
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    fontManager.addfont(path)
    fonts._installed.cache_clear()
    yield
    fonts._installed.cache_clear()


@pytest.fixture
def none_installed(monkeypatch):
    """No font of this machine but Matplotlib's own."""
    own = [entry for entry in fontManager.ttflist if entry.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(fontManager, "ttflist", own)
    fonts._installed.cache_clear()
    yield
    fonts._installed.cache_clear()


def test_what_no_font_has_is_escaped(none_installed):
    """Of Matplotlib's own fonts one has a box for every character, and others have others in their places."""
    chosen = Fonts([f"Temple – {ELSEWHERE}"])
    assert chosen.families == ["DejaVu Sans"]
    assert chosen.shown(f"Temple – {ELSEWHERE}") == r"Temple – \u5bfa"
    assert chosen.shown(f"Temple – {ELSEWHERE}", 11) == "Temple – \\…"


def test_a_font_of_the_machine_has_what_dejavu_lacks(installed):
    text = f"Temple – {ELSEWHERE}"
    chosen = Fonts(["other", text])
    assert chosen.families == ["DejaVu Sans", "Squares"] and chosen.shown(text) == text
    parts = [*chosen.runs(text)]
    assert [part for part, _ in parts] == ["Temple – ", ELSEWHERE] and parts[1][1].endswith("squares.ttf")
    assert Fonts(["other"]).families == ["DejaVu Sans"]  # not looked for in vain


def test_it_is_drawn_by_pillow_and_by_matplotlib(installed, tmp_path, capsys):
    plots.save_grid(tmp_path / "grid.png", np.ones((1, 56, 56, 3)), [ELSEWHERE])
    ink = np.argwhere(np.asarray(Image.open(tmp_path / "grid.png").convert("L")) < 50)
    assert len(ink) >= 80 and np.ptp(ink, axis=0).tolist() in ([10, 10], [9, 10], [10, 9], [9, 9])
    plots.save_confusion(tmp_path / "confusion.png", np.eye(2), [ELSEWHERE, "b"])  # a missing glyph is a warning
    assert (tmp_path / "confusion.png").is_file() and not capsys.readouterr().out


def test_a_font_that_is_damaged_or_gone_is_passed_over(installed, tmp_path):
    (tmp_path / "squares.ttf").write_bytes(b"no font")
    assert Fonts([ELSEWHERE]).shown(ELSEWHERE) == r"\u5bfa"
