"""What a split is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_SAMPLE = 2_048  # images of a streamed split whose variance stands for all
_CHUNK = 4_096  # images whose pixels are counted at a time


class Split:
    """Examples as arrays of one length N, by name.

    Images (N, H, W, C) are uint8 `image`, labels (N,) int32 `label`, and codes (N, h, w), of any integer type, `codes`.
    Clips are images (N, T, H, W, C), with codes (N, T, h, w).
    Images that are not held in memory are a `vqjax.data.streaming.Images`, which decodes the rows that are asked for.
    """

    def __init__(self, **arrays: Any):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> "Split":
        return Split(**{name: array[rows] for name, array in self.arrays.items()})

    @property
    def streamed(self) -> bool:
        """Whether its images are decoded when they are asked for."""
        return not all(isinstance(array, np.ndarray) for array in self.arrays.values())

    def variance(self) -> float:
        """Of the pixels in [0, 1], over all images, positions and channels; of a streamed split, of a sample."""
        images = self.arrays["image"]
        if self.streamed:
            images = images[np.unique(np.linspace(0, len(self) - 1, _SAMPLE).astype(int))]
        parts = (images[start : start + _CHUNK].reshape(-1) for start in range(0, len(images), _CHUNK))
        counts = sum(np.bincount(part, minlength=256) for part in parts) / images.size
        pixels = np.arange(256) / 255
        return float(counts @ pixels**2 - (counts @ pixels) ** 2)
