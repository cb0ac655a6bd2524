"""Grids of images with their captions, and films."""

import numpy as np
import pytest
from helpers import HOSTILE
from PIL import Image

from vqjax.runs import plots


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


def test_captions_may_be_any_text(tmp_path):
    """They take the same room whatever they are, and a long one is cut."""
    images = np.zeros((len(HOSTILE), 8, 8, 3))
    plots.save_grid(tmp_path / "grid.png", images, HOSTILE, title="\n".join(HOSTILE))
    plots.save_grid(tmp_path / "long.png", images, ["x" * 100_000] * len(HOSTILE), title="寺" * 10_000)
    for name in ("grid.png", "long.png"):
        with Image.open(tmp_path / name) as picture:
            assert max(picture.size) < 4_000


def test_a_caption_is_centered_and_inside_its_tile(tmp_path):
    plots.save_grid(tmp_path / "grid.png", np.ones((1, 56, 56, 3)), ["gÄy"])
    ink = np.argwhere(np.asarray(Image.open(tmp_path / "grid.png").convert("L")) < 128)
    (top, left), (bottom, right) = ink.min(0), ink.max(0)
    assert top > 58 and bottom < 58 + 14 and abs((left + right) / 2 - 30) < 3


@pytest.mark.parametrize("shape, suffix", [((2, 8, 8, 3), "png"), ((2, 3, 8, 8, 1), "gif")])
def test_pictures_say_where_they_are(tmp_path, shape, suffix):
    path = plots.save_pictures(tmp_path / "samples", np.zeros(shape))
    assert path == tmp_path / f"samples.{suffix}" and path.is_file()


def test_a_grid_that_a_user_asked_for_is_no_side_job(tmp_path):
    with pytest.raises(ValueError):
        plots.save_grid(tmp_path / "grid.png", np.zeros((2, 8, 8)))


@pytest.mark.parametrize(
    "count, width, period, columns",
    [
        (64, 28, 1, 16),
        (80, 28, 10, 10),
        (40, 28, 2, 10),
        (7, 28, 1, 7),
        (64, 256, 1, 4),
        (64, 32, 1, 16),
        (40, 28, 100, 10),
    ],
)
def test_as_many_columns_as_fit(tmp_path, count, width, period, columns):
    """With no gap in the last row, and each class below itself, where that is possible."""
    plots.save_grid(tmp_path / "grid.png", np.zeros((count, width, width, 3)), period=period)
    with Image.open(tmp_path / "grid.png") as picture:
        tile = width * -(-56 // width) + 2
        assert picture.size == (columns * tile + 2, -(-count // columns) * tile + 2)


@pytest.mark.parametrize("period", [1, 10])
def test_captions_fit_under_their_images(tmp_path, period):
    """Small images are enlarged until they do."""
    columns = 10
    captions = ["automobile", "T-shirt/top", "cat", "aquarium_fish"] * 5
    plots.save_grid(tmp_path / "grid.png", np.zeros((20, 32, 32, 3)), captions, period=period)
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    tile = (pixels.shape[1] - 2) // columns - 2
    assert tile % 32 == 0
    height = (pixels.shape[0] - 2) // (20 // columns) - 2
    band = pixels[2 + tile : 2 + height]  # the first row's captions
    for i in range(columns + 1):
        gap = band[:, i * (tile + 2) : i * (tile + 2) + 2]
        assert gap.min() > 200  # no letter between two tiles
