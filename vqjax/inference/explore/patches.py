"""Parts of images that are typical of a code."""

import numpy as np

from vqjax.data.splits import Split
from vqjax.inference.explore.views import View
from vqjax.runs import devices
from vqjax.tasks.stage1 import Stage1

AROUND = 3  # positions in each direction that a patch shows, the code's own in the middle
_PATCHES, _PATCH_PIXELS = 8, 6_000_000  # per code at most, and pixels of all of them
_POSITIONS = 200_000  # whose vectors are compared to find the patches


def spread(count: int, most: int) -> np.ndarray:
    """Return rows of `count`, at most so many, as far apart as possible: a split may be sorted by class."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def typical_patches(
    stage1: Stage1, view: View, split: Split, positions: int = _POSITIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Return parts of images where the encoder's vectors are nearest to a code's mean, for each code.

    The mean is that of the encoder's vectors which get the code, in whatever way the quantizer gives it.

    Args:
      stage1: whose codes.
      view: of them.
      split: with `image` and codes.
      positions: number of vectors that are compared, at most.

    Returns:
      Patches (P, h, w, C) uint8, code after code, each the nearest first, and how many each code has, (K,).
    """
    (height, width), count = view.level.grid, view.level.num_codes
    some = split[spread(len(split), max(1, positions // (height * width)))]
    latents = lambda variables, batch: stage1.latents(variables, batch["image"], view.number)  # noqa: E731
    batch_size = devices.images_at_a_time(stage1.task.image_shape)
    z = devices.map_split(latents, stage1.variables, some, batch_size, stage1.settings.parallel, "patches")
    z, codes = z.reshape(-1, z.shape[-1]).astype(np.float32), view.codes(some.arrays).reshape(-1)
    uses = np.bincount(codes, minlength=count)
    by_code = np.argsort(codes, kind="stable")
    used, starts = np.flatnonzero(uses), np.cumsum(uses) - uses
    means = np.zeros((count, z.shape[-1]), np.float32)
    means[used] = np.add.reduceat(z[by_code], starts[used]) / uses[used, None]
    order = np.lexsort((((z - means[codes]) ** 2).sum(-1), codes))  # by code, then by distance
    stride = stage1.task.module.strides[view.number]
    room = _PATCH_PIXELS // (max(1, len(used)) * (AROUND * stride) ** 2)
    counts = np.minimum(uses, min(_PATCHES, max(1, room)))
    chosen = np.concatenate([order[start : start + number] for start, number in zip(starts, counts)])
    return _cut(some.arrays["image"], chosen, (height, width), stride), counts


def _cut(images: np.ndarray, positions: np.ndarray, grid: tuple[int, int], stride: int) -> np.ndarray:
    """Return the parts of images around positions, counted through all images, (P, s, s, C); edges are repeated."""
    margin = AROUND // 2 * stride
    around = np.arange(AROUND * stride) - margin
    image, row, column = np.unravel_index(positions, (len(images), *grid))
    rows = np.clip(row[:, None] * stride + around, 0, images.shape[1] - 1)
    columns = np.clip(column[:, None] * stride + around, 0, images.shape[2] - 1)
    return images[image[:, None, None], rows[:, :, None], columns[:, None, :]]
