"""Splits: examples as arrays of one length."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_SAMPLE = 2_048  # images of a streamed split whose variance stands for all
_CHUNK = 4_096  # images whose pixels are counted at a time


class Split:
    """Examples as arrays of one length N, by name.

    `image` is (N, H, W, C) uint8, of clips (N, T, H, W, C); `label` (N,) int32, -1 where an image has none although the
    set has classes; codes have the names and shapes of their `CodeLayout`, `codes` (N, h, w) of any integer type.
    Images that are not held in memory are a `vqjax.data.streaming.LazyImages`, which decodes the rows that are asked
    for.
    """

    def __init__(self, **arrays: Any):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> "Split":
        return Split(**{name: array[rows] for name, array in self.arrays.items()})

    @property
    def streamed(self) -> bool:
        """Whether images are decoded when they are asked for."""
        return not all(isinstance(array, np.ndarray) for array in self.arrays.values())

    def variance(self) -> float:
        """Return the variance of pixels in [0, 1], over all axes; of a streamed split, that of a sample."""
        images = self.arrays["image"]
        if self.streamed:
            images = images[np.unique(np.linspace(0, len(self) - 1, _SAMPLE).astype(int))]
        parts = (images[start : start + _CHUNK].reshape(-1) for start in range(0, len(images), _CHUNK))
        counts = sum(np.bincount(part, minlength=256) for part in parts) / images.size
        pixels = np.arange(256) / 255
        return float(counts @ pixels**2 - (counts @ pixels) ** 2)
