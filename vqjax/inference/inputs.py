"""What a program gives: images and codes, checked, as the arrays that the models take."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vqjax.data.images import convert, to_array
from vqjax.system.errors import InputError


def as_images(images: Any, channels: int) -> np.ndarray:
    """Images as (N, H, W, C), uint8, or float in [0, 1].

    Args:
      images: an array of them, (N, H, W) too if C is 1; or Pillow images of one size, whose mode is converted.
      channels: C.

    Raises:
      TypeError: of another dtype, or no array.
      InputError: of another shape, outside [0, 1] or not finite, of several sizes, or there are none.
    """
    expected = f"expected (N, H, W, {channels})" + " or (N, H, W)" * (channels == 1)
    array = _array(_stack(images, channels), "images")
    if not array.size:
        raise InputError(f"images of shape {array.shape}: {expected}, found none")
    if array.ndim == 3 and channels == 1:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] != channels:
        raise InputError(f"images of shape {array.shape}: {expected}")
    if array.dtype == np.uint8:
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"images of dtype {array.dtype}: expected uint8, or floats in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # a NaN fails both
        raise InputError(f"images from {low:g} to {high:g}: expected uint8, or floats in [0, 1]")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _stack(images: Any, channels: int) -> Any:
    """The Pillow images of a list as one array; anything else as it is."""
    if isinstance(images, Image.Image):
        raise TypeError("images: expected a list of Pillow images, found a single one")
    if not isinstance(images, list | tuple) or not any(isinstance(image, Image.Image) for image in images):
        return images
    if not all(isinstance(image, Image.Image) for image in images):
        raise TypeError("images: expected a list of Pillow images, found something else in it")
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        found = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise InputError(f"images of {len(sizes)} sizes ({found}): expected one")
    return np.stack([to_array(convert(image, channels)[0]) for image in images])


def _array(values: Any, what: str) -> np.ndarray:
    """As NumPy has it. TypeError if that is no numbers."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise InputError(f"{what}: expected an array: {error}") from error
    if array.dtype.kind in "OUSM":
        raise TypeError(f"{what}: expected an array of numbers, found {type(values).__name__}")
    return array


def to_pixel_levels(images: jax.Array) -> jax.Array:
    """Images as of `as_images` -> pixels from 0 to 255, uint8 or float32; traceable.

    Floats that are whole levels but for the rounding of their dtype become whole, so that an image gives the same codes
    whether it comes as uint8 or divided by 255; others stay between the levels.
    """
    if images.dtype == jnp.uint8:
        return images
    error = 2 * 255 * max(jnp.finfo(images.dtype).eps, jnp.finfo(jnp.float32).eps)
    scaled = 255 * images.astype(jnp.float32)
    whole = jnp.round(scaled)
    return jnp.where(jnp.abs(scaled - whole) <= error, whole, scaled)


def as_codes(codes: Any, num_codes: int, grid: tuple[int, ...] | None = None) -> np.ndarray:
    """Codes as (N, h, w) int32.

    Args:
      codes: an array of integers in [0, num_codes).
      num_codes: K.
      grid: the (h, w) that they must have; None: any.

    Raises:
      TypeError: no integers.
      InputError: of another shape, out of range, or there are none.
    """
    expected = "expected (N, {}, {})".format(*(grid or "hw"))
    array = _array(codes, "codes")
    if not array.size:
        raise InputError(f"codes of shape {array.shape}: {expected}, found none")
    if array.dtype.kind not in "iu":
        raise TypeError(f"codes of dtype {array.dtype}: expected integers")
    if array.ndim != 3 or grid and array.shape[1:] != grid:
        raise InputError(f"codes of shape {array.shape}: {expected}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= num_codes:
        raise InputError(f"codes from {low} to {high}: expected 0 to {num_codes - 1}")
    return array.astype(np.int32)
