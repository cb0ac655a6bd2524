import numpy as np
from helpers import dataset_of

from vqjax.data import datasets
from vqjax.data.sets import photos


def test_crops_are_of_their_own_side(small_config):
    """Every crop is found in its photograph; those for training end where the test quarter, all of it, begins."""
    small_config.data.name = "photos"
    splits = datasets.load_splits(dataset_of(small_config))
    sizes = dataset_of(small_config).sizes
    assert {name: len(split) for name, split in splits.items()} == sizes
    whole = photos.photographs()
    assert whole.shape == (2, 427, 640, 3)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (64, 64), axis=(1, 2))  # (2, 364, 577, 3, 64, 64)
    for name, split in splits.items():
        lefts = set()
        for image, label in list(zip(*(split.arrays[key] for key in ("image", "label"))))[:: len(split) // 21]:
            corner = windows[label, :, :, :, 0, 0] == image[0, 0]
            at = [
                (y, x)
                for y, x in zip(*corner.all(-1).nonzero())
                if (windows[label, y, x] == image.transpose(2, 0, 1)).all()
            ]
            assert at, name
            lefts.add(at[0][1])
        assert max(lefts) + 64 <= 480 if name == "train" else min(lefts) >= 480
    again = datasets.load_splits(dataset_of(small_config))
    np.testing.assert_array_equal(splits["train"].arrays["image"], again["train"].arrays["image"])


def test_tiles_cover_the_whole():
    image = np.arange(100 * 70).reshape(100, 70, 1)
    found = photos.tiles(image, 30, 4, 3)
    assert found.shape == (12, 30, 30, 1) and {*found.reshape(-1)} == {*range(7000)}
