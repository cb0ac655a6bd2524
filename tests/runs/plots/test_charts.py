"""Curves, bars and matrices of a run."""

import matplotlib
import numpy as np
import pytest
from helpers import HOSTILE, command
from matplotlib.figure import Figure

from vqjax.runs import plots


@pytest.fixture
def drawn(monkeypatch, capsys):
    """The figures that are saved, with their ticks. None fails."""
    figures, savefig = [], Figure.savefig

    def save_and_keep(figure, *arguments, **options):
        figures.append(figure)
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", save_and_keep)
    yield figures
    assert "warning" not in capsys.readouterr().out


def line(step, split="train", **figures):
    return {"step": step, "split": split, **figures}


def test_curves_have_the_panels_that_say_something(tmp_path, drawn):
    """Not one of a figure that no line has, nor one that is the same as another."""
    lines = [line(step, loss=1 / step, cross_entropy=1 / step, codes_used=3) for step in (1, 2, 3)]
    plots.save_curves(tmp_path / "curves.png", lines, ("loss", "accuracy", "cross_entropy", "codes_used"))
    assert [panel.get_ylabel() for panel in drawn[0].axes] == ["loss", "codes used"]
    lines.append(line(3, "test", loss=1, cross_entropy=0.5))
    plots.save_curves(tmp_path / "curves.png", lines, ("loss", "cross_entropy"))
    assert [panel.get_ylabel() for panel in drawn[1].axes] == ["loss", "cross entropy"]


def test_curves_of_counts_have_whole_ticks_and_splits_their_colors(tmp_path, drawn):
    lines = [line(step, codes_used=step, nats_per_code=1.5) for step in (1, 2)]
    lines += [line(2, "test", codes_used=1, nats_per_code=1.25, order0_nats_per_code=2.0)]
    for kept in (lines, lines[2:]):
        plots.save_curves(tmp_path / "curves.png", kept, ("codes_used", "nats_per_code"))
    codes, nats = drawn[0].axes
    for ticks in (codes.get_xticks(), codes.get_yticks(), nats.get_xticks()):
        np.testing.assert_array_equal(ticks, np.round(ticks))
    colors = {curve.get_label(): curve.get_color() for panel in drawn[0].axes for curve in panel.get_lines()}
    assert set(colors) == {"train", "test", "order 0, test"} and len(set(colors.values())) == 3
    assert drawn[1].axes[0].get_lines()[0].get_color() == colors["test"]
    np.testing.assert_array_equal(nats.get_lines()[-1].get_ydata(), 2)
    said = drawn[0].get_supxlabel()
    assert said.startswith("train: the mean") and said.endswith("; test: the whole split")


@pytest.mark.parametrize("num_codes, scale", [(128, "linear"), (2048, "log")])
def test_the_usage_of_many_codes_is_logarithmic_in_plain_numbers(tmp_path, drawn, num_codes, scale):
    frequency = np.geomspace(1, 1e-3, num_codes)
    plots.save_usage(tmp_path / "codebook.png", frequency / frequency.sum())
    (panel,) = drawn[0].axes
    assert panel.get_yscale() == scale and f"{num_codes:,} of {num_codes:,} codes used" in panel.get_title()
    assert not [label.get_text() for label in panel.get_yticklabels(which="both") if "$" in label.get_text()]


def test_maps_have_their_figures_in_the_cells(tmp_path, drawn):
    plots.save_maps(tmp_path / "positions.png", {"nats_by_position": np.array([[1.0, 2.0], [3.0, 4.26]])})
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["1.0", "2.0", "3.0", "4.3"]


def test_codes_of_several_levels_are_curves_of_their_own(tmp_path, drawn):
    """(depth, K), a row per level, and levels by name: each is a distribution."""
    uniform, one = np.full(16, 1 / 16), np.eye(16)[3]
    plots.save_usage(tmp_path / "codebook.png", np.stack([uniform, one]))
    plots.save_usage(tmp_path / "codebook.png", {"_top": uniform, "_bottom": np.full(512, 1 / 512)})
    labels = [[curve.get_label() for curve in figure.axes[0].get_lines()] for figure in drawn]
    assert labels[0] == [
        "level 1: 16 of 16 codes used, perplexity 16",
        "level 2: 1 of 16 codes used, perplexity 1",
        "all codes alike",
    ]
    assert labels[1] == [
        "level top: 16 of 16 codes used, perplexity 16",
        "level bottom: 512 of 512 codes used, perplexity 512",
    ]
    np.testing.assert_allclose(drawn[0].axes[0].get_lines()[1].get_ydata(), [100] + 15 * [0])


CHARTS = {
    "confusion": lambda path, names: plots.save_confusion(path, np.eye(len(names)), names),
    "runs": lambda path, names: plots.save_runs(path, {name: [(1, 2.0), (2, 3.0)] for name in names}, "loss"),
    "comparison": lambda path, names: plots.save_comparison(path, names, [[1.0, 2.0] for _ in names], "test mse"),
}


@pytest.mark.parametrize("chart", CHARTS)
def test_any_text_is_drawn_as_it_is(tmp_path, drawn, chart):
    CHARTS[chart](tmp_path / "chart.png", HOSTILE)
    assert (tmp_path / "chart.png").stat().st_size > 1000
    texts = [text.get_text() for text in drawn[0].findobj(matplotlib.text.Text)]
    shown = ["cash$$", "$x^2$", r"\frac{", "a<b|c", r"line\nbreak", r"bell\x07", "_hidden", "café", "Ελληνικά"]
    for text in shown:
        assert any(text in other for other in texts), text
    assert any("Temple – " in other for other in texts) and any(r"\x80" in other for other in texts)


@pytest.mark.parametrize("chart", CHARTS)
def test_a_text_may_be_long(tmp_path, drawn, chart):
    CHARTS[chart](tmp_path / "chart.png", ["x" * 5_000, "寺" * 300, "short"])
    assert (tmp_path / "chart.png").is_file()


def test_a_label_that_begins_with_an_underscore_is_in_the_legend(tmp_path, drawn):
    plots.save_runs(tmp_path / "comparison.png", {"_a": [(1, 2.0)], "b": [], "c": [(1, 3.0)]}, "loss")
    assert [text.get_text().strip() for text in drawn[0].axes[0].get_legend().get_texts()] == ["_a", "c"]


BROKEN = {
    "curves": lambda path: plots.save_curves(path, [{"step": 1}], ("step",)),
    "usage": lambda path: plots.save_usage(path, {}),
    "maps": lambda path: plots.save_maps(path, {"nats_by_position": np.zeros(7)}),
    "confusion": lambda path: plots.save_confusion(path, np.eye(3), ["too", "few"]),
    "runs": lambda path: plots.save_runs(path, {"a": [None]}, "loss"),
    "comparison": lambda path: plots.save_comparison(path, ["a"], [[]], "mse"),
    "pictures": lambda path: plots.save_pictures(path.with_suffix(""), np.zeros((2, 8, 8, 5))),
    "film": lambda path: plots.save_pictures(path.with_suffix(""), np.zeros((2, 0, 8, 8, 5))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_picture_that_cannot_be_drawn_costs_a_line(tmp_path, capsys, name):
    """And is not there: the one of an earlier step would pass for this one's."""
    path = tmp_path / f"chart.{'gif' if name == 'film' else 'png'}"
    path.write_text("of an earlier step")
    BROKEN[name](tmp_path / "chart.png")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"warning: {path.name} is not drawn: ")
    assert not [*tmp_path.iterdir()]


def test_drawing_changes_no_settings_of_matplotlib():
    """A notebook keeps its backend."""
    code = "import matplotlib; before = dict(matplotlib.rcParams); backend = matplotlib.get_backend(auto_select=False)"
    code += "; from vqjax.runs import plots; plots.save_runs(pathlib.Path(sys.argv[1]), {'a': [(1, 2)]}, 'loss')"
    code += "; assert before == dict(matplotlib.rcParams) and 'matplotlib.pyplot' not in sys.modules"
    code += "; assert matplotlib.get_backend(auto_select=False) == backend"
    result = command("-c", f"import pathlib, sys; {code}", "/dev/null/x.png")
    assert "cannot be written to" in result.stderr and "AssertionError" not in result.stderr
