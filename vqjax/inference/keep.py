"""Parts of an image that are kept when a prior completes it: pixels, and the codes that see no others."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.codes import CodeLayout
from vqjax.data.images import open_image, to_array
from vqjax.system.errors import InputError

_BOX = re.compile(r"(\d*):(\d*),(\d*):(\d*)")
_EXPECTED = "expected upper, left, a box y0:y1,x0:x1 in pixels, or a mask, a picture whose white pixels are kept"


def parse_keep(text: str, height: int, width: int) -> np.ndarray:
    """Return which pixels of an image are kept, (H, W) bool.

    Args:
      text: "upper" or "left", half of the image; a box "y0:y1,x0:x1", which is kept; or the path of a picture of that
        size, whose white pixels are kept.
      height, width: of the image.

    Raises:
      InputError: it is none of these, the box lies outside, or the picture has another size.
    """
    keep = np.zeros((height, width), bool)
    if text == "upper":
        keep[: height // 2] = True
    elif text == "left":
        keep[:, : width // 2] = True
    elif match := _BOX.fullmatch(text):
        numbers = [int(number) if number else default for number, default in zip(match.groups(), (0, height, 0, width))]
        top, bottom, left, right = numbers
        if not (top < bottom <= height and left < right <= width):
            raise InputError(f"--keep={text}: expected a box inside of {height} x {width} pixels, y0:y1,x0:x1")
        keep[top:bottom, left:right] = True
    elif Path(text).suffix:
        mask = to_array(open_image(text, 1)[0])[..., 0]
        if mask.shape != keep.shape:
            found = " x ".join(map(str, mask.shape))
            raise InputError(
                f"--keep={text}: {found} pixels, expected a mask of {height} x {width}, the model's images"
            )
        keep = mask >= 128
    else:
        raise InputError(f"--keep={text}: {_EXPECTED}")
    return keep


def as_keep(keep: Any, count: int, height: int, width: int) -> np.ndarray:
    """Return which pixels of each image are kept, (N, H, W) bool. Raises InputError for another shape or type."""
    array = np.asarray(keep)
    if array.dtype != bool:
        raise InputError(f"--keep of dtype {array.dtype}: expected bool, True where pixels are kept")
    if array.shape not in ((height, width), (count, height, width)):
        raise InputError(
            f"--keep of shape {array.shape}: expected ({height}, {width}), or one for each of {count} images"
        )
    return np.broadcast_to(array, (count, height, width))


def known_codes(sequences: np.ndarray, keep: np.ndarray, layout: CodeLayout, strides: Sequence[int]) -> np.ndarray:
    """Return sequences (N, L) int32 with -1 for each code that is not kept.

    A code is kept where all the pixels of its square are: those that it stands for, `stride` in each direction. What
    the encoder sees beyond them is not looked at.

    Args:
      sequences: codes of the images, (N, L).
      keep: pixels that are kept, (N, H, W) bool.
      layout: of the codes.
      strides: pixels per position of each level, in each direction.
    """
    count, height, width = keep.shape
    parts = []
    for level, stride in zip(layout.levels, strides):
        squares = keep.reshape(count, height // stride, stride, width // stride, stride).all((2, 4))
        parts.append(np.repeat(squares.reshape(count, -1), level.depth, axis=1))
    return np.where(np.concatenate(parts, axis=1), sequences, -1).astype(np.int32)
