"""Images and codes that a program gives, checked, as the arrays that the models take."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vqjax.codes import CodeLayout, Codes, Level
from vqjax.data.images import convert, open_image, to_array
from vqjax.system.errors import InputError


def as_images(images: Any, image_shape: Sequence[int]) -> np.ndarray:
    """Return images as an array (N, H, W, C), uint8, or floats in [0, 1] of at most 32 bits.

    Args:
      images: an array of them, (N, H, W) too if C is 1: NumPy's, JAX's, PyTorch's or nested lists; or a list of Pillow
        images or of image files, of one size, whose mode is converted.
      image_shape: (H, W, C) of the model, of which C counts; of a model of clips (T, H, W, C), which takes clips too.

    Raises:
      TypeError: they are of another dtype, or no array.
      InputError: they are of another shape, outside [0, 1] or not finite, of several sizes, or there are none.
    """
    channels = image_shape[-1]
    array = _to_numpy(_stack(images, channels), "images")
    check_image_shape(array.shape, image_shape)
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype == np.uint8:
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"images of dtype {array.dtype}: expected uint8, or floats in [0, 1]")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # a NaN fails both
        _refuse_values(array, f"{float(low):g} to {float(high):g}")
    return array.astype(np.float32) if array.dtype.itemsize > 4 else array


def as_training_images(images: Any, image_shape: Sequence[int]) -> np.ndarray:
    """Return images as `as_images` does; raises InputError for images of another size than (H, W, C), too."""
    array = as_images(images, image_shape)
    found, expected = (" x ".join(map(str, sides)) for sides in (array.shape[1:3], image_shape[:2]))
    if found != expected:
        raise InputError(f"images of {found} pixels: expected {expected}, as in training")
    return array


def check_image_shape(shape: tuple[int, ...], image_shape: Sequence[int]) -> None:
    """Raise InputError unless an array of the shape has images (N, H, W, C), or (N, H, W) where C is 1, or clips."""
    channels, gray, ranks = image_shape[-1], image_shape[-1] == 1, (4, 5)[: len(image_shape) - 2]
    expected = f"expected (N, H, W, {channels})" + " or (N, H, W)" * gray
    expected += f" or (N, T, H, W, {channels})" * (5 in ranks)
    if not math.prod(shape):
        raise InputError(f"images of shape {shape}: {expected}, found none")
    if len(shape) == 3 and shape[-1] == channels or len(shape) == 2 and gray:
        raise InputError(f"images of shape {shape}: {expected}; one image? images[None]")
    if len(shape) == 4 and shape[1] == channels != shape[-1]:
        raise InputError(f"images of shape {shape}: {expected}; it looks like (N, C, H, W): transpose it")
    if not (len(shape) in ranks and shape[-1] == channels or len(shape) == 3 and gray):
        raise InputError(f"images of shape {shape}: {expected}")


def check_size(height: int, width: int, stride: int) -> None:
    """Raise InputError unless a stride divides the sides of an image, in pixels."""
    if height < 1 or width < 1 or height % stride or width % stride:
        raise InputError(f"images of {height} x {width} pixels: expected multiples of the stride {stride}")


def _refuse_values(array: np.ndarray, values: str) -> None:
    """Raise InputError for images that have values outside [0, 1] or NaN."""
    broken = np.flatnonzero(np.isnan(array).reshape(len(array), -1).any(1))
    found = f"NaN in image {broken[0]}" if len(broken) else f"images from {values}"
    raise InputError(f"{found}: expected uint8, or floats in [0, 1]")


def _stack(images: Any, channels: int) -> Any:
    """Return the Pillow images, or the images in the files, of a list as one array; anything else as it is."""
    if isinstance(images, Image.Image):
        raise TypeError("images: expected a list of Pillow images, found a single one: [image]")
    if isinstance(images, str | Path):
        raise TypeError(f"images: expected a list of files, found a single path: [{str(images)!r}]")
    kinds = Image.Image, str | Path
    if not isinstance(images, list | tuple) or not any(isinstance(image, kinds) for image in images):
        return images
    if not any(all(isinstance(image, kind) for image in images) for kind in kinds):
        raise TypeError("images: expected a list of Pillow images, or of files, found something else in it")
    opened = [
        convert(image, channels)[0] if isinstance(image, Image.Image) else open_image(image, channels)[0]
        for image in images
    ]
    sizes = sorted({image.size for image in opened})
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise InputError(f"images of {len(sizes)} sizes ({shown}): expected one")
    return np.stack([to_array(image) for image in opened])


def _to_numpy(values: Any, name: str) -> np.ndarray:
    """Return values as a NumPy array in this machine's byte order. Raises TypeError if they are no numbers."""
    if isinstance(values, jax.core.Tracer):
        raise TypeError(f"{name}: traced by jit, grad or vmap; there use the functions of tokenizer.functions()")
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise TypeError(f"{name}: expected an array without masked values; fill them first, by filled()")
        values = values.data
    if hasattr(values, "detach"):
        values = _from_torch(values)
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise InputError(f"{name}: expected an array: {error}") from error
    if array.dtype.kind in "OUSM":
        raise TypeError(f"{name}: expected an array of numbers, found {type(values).__name__}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _from_torch(tensor: Any) -> Any:
    """Return a tensor of PyTorch, on any device, with or without a gradient, as NumPy can take it."""
    if "bfloat16" in str(tensor.dtype):  # which NumPy lacks
        return tensor.float().numpy(force=True).astype(jnp.bfloat16)
    return tensor.numpy(force=True)


def to_pixel_levels(images: jax.Array) -> jax.Array:
    """Map images, uint8 or floats in [0, 1], to pixels from 0 to 255, uint8 or float32; traceable.

    Floats that are whole levels but for the rounding of their dtype become whole, so that an image gives the same codes
    whether it comes as uint8 or divided by 255; others stay between the levels. The gradient is 255 everywhere.
    """
    if images.dtype == jnp.uint8:
        return images
    error = 2 * 255 * max(jnp.finfo(images.dtype).eps, jnp.finfo(jnp.float32).eps)
    scaled = 255 * images.astype(jnp.float32)
    rounding = jax.lax.stop_gradient(jnp.round(scaled) - scaled)  # exact, and so is the sum below
    return jnp.where(jnp.abs(rounding) <= error, scaled + rounding, scaled)


def as_codes(codes: Any, layout: CodeLayout, exact: bool = False, first: bool = False) -> Codes:
    """Return codes as users see them, see CodeLayout, in int32.

    Args:
      codes: an array of integers or, where the layout has several levels, a dict of them.
      layout: of the codes in training.
      exact: whether the grids must be those of the layout, or all may be larger or smaller by one factor.
      first: whether the first levels alone are enough, and the first codes of each position.

    Raises:
      TypeError: they are no integers.
      InputError: they are of another shape, out of range, or there are none.
    """
    if not layout.by_name:
        return _level_codes(codes, layout.levels[0], exact, first, "codes")
    names = [level.name for level in layout.levels]
    if first and isinstance(codes, Mapping) and codes and set(codes) == set(names[: len(codes)]):
        layout, names = layout.part(slice(len(codes))), names[: len(codes)]
    if not isinstance(codes, Mapping) or set(codes) != set(names):
        found = f"a dict of {', '.join(codes)}" if isinstance(codes, Mapping) else type(codes).__name__
        raise InputError(f"codes: expected a dict of {', '.join(names)}, found {found}")
    arrays = {
        level.name: _level_codes(codes[level.name], level, exact, first, f"codes[{level.name!r}]")
        for level in layout.levels
    }
    sizes = {len(array) for array in arrays.values()}
    factors = {
        tuple(size / own for size, own in zip(arrays[level.name].shape[1:], level.grid)) for level in layout.levels
    }
    if len(sizes) > 1 or len(factors) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(f"codes of shapes {shapes}: expected as many images in each, and grids like {layout}")
    return arrays


def _level_codes(codes: Any, level: Level, exact: bool, first: bool, name: str) -> np.ndarray:
    """Return the codes of a level, (N, h, w), with (N, h, w, D) for a depth D, and (N, T, h, w) for clips.

    Of D codes per position those that come `first` are enough.
    """
    axes = [*map(str, level.grid if exact else ("T", "h", "w")[-len(level.grid) :])]
    depth = [f"1 to {level.depth}" if first else str(level.depth)] * (level.depth > 1)
    expected = f"expected ({', '.join(['N', *axes, *depth])})"
    array = _to_numpy(codes, name)
    if not array.size:
        raise InputError(f"{name} of shape {array.shape}: {expected}, found none")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} of dtype {array.dtype}: expected integers")
    grid = array.shape[1 : array.ndim - len(depth)]
    right = grid == level.grid if exact else len(grid) in (2, len(level.grid))
    if not right or depth and not (1 if first else level.depth) <= array.shape[-1] <= level.depth:
        raise InputError(f"{name} of shape {array.shape}: {expected}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= level.num_codes:
        raise InputError(f"{name} from {low} to {high}: expected 0 to {level.num_codes - 1}")
    return array.astype(np.int32)
