"""Grids of images."""

import numpy as np
import pytest
from PIL import Image

from vqjax.runs import plots


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
