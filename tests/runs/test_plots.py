"""What is drawn of a run."""

import numpy as np
import pytest
from PIL import Image

from vqjax.runs import plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved, with their ticks."""
    figures = []

    def keep(figure, path):
        figure.canvas.draw()
        figures.append(figure)

    monkeypatch.setattr(plots, "_save_figure", keep)
    yield figures
    plots.plt.close("all")


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


def test_curves_of_counts_have_whole_ticks_and_splits_their_colours(tmp_path, drawn):
    lines = [line(step, codes_used=step, nats_per_code=1.5) for step in (1, 2)]
    lines += [line(2, "test", codes_used=1, nats_per_code=1.25, order0_nats_per_code=2.0)]
    for kept in (lines, lines[2:]):
        plots.save_curves(tmp_path / "curves.png", kept, ("codes_used", "nats_per_code"))
    codes, nats = drawn[0].axes
    for ticks in (codes.get_xticks(), codes.get_yticks(), nats.get_xticks()):
        np.testing.assert_array_equal(ticks, np.round(ticks))
    colours = {curve.get_label(): curve.get_color() for panel in drawn[0].axes for curve in panel.get_lines()}
    assert set(colours) == {"train", "test", "order 0, test"} and len(set(colours.values())) == 3
    assert drawn[1].axes[0].get_lines()[0].get_color() == colours["test"]
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


def test_the_images_of_a_pair_stand_closer_than_pairs(tmp_path):
    """With the title whole, even above few images."""
    title = "above: original, below: reconstruction, PSNR"
    plots.save_grid(tmp_path / "grid.png", np.zeros((2, 56, 56, 1)), None, np.zeros((2, 56, 56, 1)), title, period=1)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape[1] > 2 * 58 + 2
    plots.save_grid(tmp_path / "grid.png", np.zeros((64, 56, 56, 1)), None, np.zeros((64, 56, 56, 1)))
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))

    def gaps(line):
        return [len(white) for white in "".join(" " if value else "#" for value in line).strip().split("#" * 56)[1:-1]]

    assert gaps(pixels[:, 10]) == [2, 8, 2, 8, 2, 8, 2] and gaps(pixels[10]) == 15 * [4]


@pytest.mark.parametrize("wrong, red", [([False, True], True), ([False, False], False), (None, False)])
def test_errors_are_red(tmp_path, wrong, red):
    plots.save_grid(tmp_path / "grid.png", np.zeros((2, 56, 56, 1)), ["cat", "dog"], wrong=wrong)
    pixels = np.asarray(Image.open(tmp_path / "grid.png")).astype(int)
    assert (pixels[..., 0] > pixels[..., 1] + 100).any() == red
