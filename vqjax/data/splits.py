"""What a split is."""

import numpy as np


class Split:
    """Examples as arrays of one length N, by name.

    Images (N, H, W, C) are uint8 `image`, labels (N,) int32 `label`, and codes (N, h, w), of any integer type, `codes`.
    """

    def __init__(self, **arrays: np.ndarray):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: slice | np.ndarray) -> "Split":
        return Split(**{name: array[rows] for name, array in self.arrays.items()})

    def variance(self) -> float:
        """Of the pixels in [0, 1], over all images, positions and channels."""
        images = self.arrays["image"]
        counts = np.bincount(images.reshape(-1), minlength=256) / images.size
        pixels = np.arange(256) / 255
        return float(counts @ pixels**2 - (counts @ pixels) ** 2)
