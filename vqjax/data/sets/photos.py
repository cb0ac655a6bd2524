"""The two photographs that come with scikit-learn, cut into crops; the right quarter of each is for test."""

import numpy as np

from vqjax.config.schema import Data
from vqjax.data.sets.arrays import ArrayDataset

NAMES = ("china", "flower")
SIZE = 64  # pixels of a crop, either way
CROPS = 2048  # of each photograph, for training
_TILES = (7, 3)  # rows and columns of crops that cover a right quarter


def photos(data: Data) -> ArrayDataset:
    """Crops of both, labelled by the photograph."""
    return ArrayDataset(data, crops, NAMES, "")


def photographs() -> np.ndarray:
    """Both, in the order of NAMES: (2, 427, 640, 3) uint8."""
    from sklearn.datasets import load_sample_image

    return np.stack([load_sample_image(f"{name}.jpg") for name in NAMES])


def split_left_right(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The left three quarters, for training, and the right quarter, for test, of images (..., H, W, C)."""
    edge = images.shape[-2] * 3 // 4
    return images[..., :edge, :], images[..., edge:, :]


def random_crops(image: np.ndarray, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Squares (count, size, size, C) of an image (H, W, C), cut out at random."""
    tops = rng.integers(0, image.shape[0] - size + 1, count)
    lefts = rng.integers(0, image.shape[1] - size + 1, count)
    return np.stack([image[top : top + size, left : left + size] for top, left in zip(tops, lefts)])


def tiles(image: np.ndarray, size: int, rows: int, columns: int) -> np.ndarray:
    """Squares (rows columns, size, size, C), evenly spaced from edge to edge of an image (H, W, C)."""
    tops = np.linspace(0, image.shape[0] - size, rows).round().astype(int)
    lefts = np.linspace(0, image.shape[1] - size, columns).round().astype(int)
    return np.stack([image[top : top + size, left : left + size] for top in tops for left in lefts])


def crops(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The crops of "train" or "test", always the same, and for each the number of its photograph.

    Returns images (N, SIZE, SIZE, 3) uint8 and labels (N,) int32.
    """
    train, test = split_left_right(photographs())
    if name == "train":
        rng = np.random.default_rng(0)
        found = [random_crops(image, SIZE, CROPS, rng) for image in train]
    else:
        found = [tiles(image, SIZE, *_TILES) for image in test]
    labels = np.repeat(np.arange(len(found), dtype=np.int32), len(found[0]))
    return np.concatenate(found), labels
