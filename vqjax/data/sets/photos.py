"""Two photographs that come with scikit-learn, cut into crops; the right quarter of each is for test."""

import numpy as np

from vqjax.config.schema import Data
from vqjax.data.sets.arrays import ArrayDataset

NAMES = ("china", "flower")
SIZE = 64  # pixels of a crop, either way
CROPS = 2048  # of each photograph, for training
_TILES = (7, 3)  # rows and columns of crops that cover a right quarter


def photos(data: Data) -> ArrayDataset:
    """Open the crops of both, labeled by the photograph."""
    return ArrayDataset(data, crops, NAMES, "")


def photographs() -> np.ndarray:
    """Return both, in the order of NAMES: (2, 427, 640, 3) uint8."""
    from sklearn.datasets import load_sample_image

    return np.stack([load_sample_image(f"{name}.jpg") for name in NAMES])


def split_left_right(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the left three quarters, for training, and the right quarter, for test, of images (..., H, W, C)."""
    edge = images.shape[-2] * 3 // 4
    return images[..., :edge, :], images[..., edge:, :]


def random_crops(image: np.ndarray, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Cut squares (count, size, size, C) out of an image (H, W, C) at random."""
    tops = rng.integers(0, image.shape[0] - size + 1, count)
    lefts = rng.integers(0, image.shape[1] - size + 1, count)
    return np.stack([image[top : top + size, left : left + size] for top, left in zip(tops, lefts)])


def tiles(image: np.ndarray, size: int, rows: int, columns: int) -> np.ndarray:
    """Cut squares (rows columns, size, size, C) out of an image (H, W, C), evenly spaced from edge to edge."""
    tops = np.linspace(0, image.shape[0] - size, rows).round().astype(int)
    lefts = np.linspace(0, image.shape[1] - size, columns).round().astype(int)
    return np.stack([image[top : top + size, left : left + size] for top in tops for left in lefts])


def crops(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the crops of "train" or "test", always the same, and for each the number of its photograph.

    Returns images (N, SIZE, SIZE, 3) uint8 and labels (N,) int32.
    """
    train, test = split_left_right(photographs())
    if name == "train":
        rng = np.random.default_rng(0)
        parts = [random_crops(image, SIZE, CROPS, rng) for image in train]
    else:
        parts = [tiles(image, SIZE, *_TILES) for image in test]
    labels = np.repeat(np.arange(len(parts), dtype=np.int32), len(parts[0]))
    return np.concatenate(parts), labels
