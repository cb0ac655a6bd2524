"""Image files as arrays: turned upright, converted, and fitted to a size.

What is wrong with a file is an InputError that says why.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from vqjax.data.files.pictures import Source, check_mode, load_image
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.system.text import printable

_SIXTEEN = 65535 / 255


def convert(image: Image.Image, channels: int) -> tuple[Image.Image, list[str]]:
    """Convert a Pillow image to 1 or 3 channels of 8 bits.

    Transparency is laid over white; 16 bits are scaled to 8.

    Returns:
      The image, and notes on what was changed.

    Raises:
      InputError: floats, or a color space without a conversion.
    """
    notes = []
    check_mode(image)
    if image.mode.startswith("I"):
        notes.append("scaled from 16 bits to 8")
        levels = np.clip(np.asarray(image).astype(np.float64) / _SIXTEEN, 0, 255)
        image = Image.fromarray(np.round(levels).astype(np.uint8))
    if image.has_transparency_data:
        notes.append("transparency laid over white")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        notes.append(f"converted from {image.mode} to {mode}")
        image = image.convert(mode)
    return image, notes


def to_array(image: Image.Image) -> np.ndarray:
    """Return a converted Pillow image as uint8 (H, W, C)."""
    return np.asarray(image, np.uint8).reshape(image.height, image.width, -1)


def open_image(file: str | Path, channels: int) -> tuple[Image.Image, list[str]]:
    """Read an image file, upright, with 1 or 3 channels.

    Returns:
      The image, and notes on what was changed.

    Raises:
      InputError: it is no image; the file is named.
    """
    try:
        loaded = load_image(absolute_path(file, "image"))
        image, notes = convert(loaded.image, channels)
    except InputError as error:
        raise InputError(f"{printable(str(file))}: {error}") from error
    return image, ["the first of its frames"] * loaded.animated + notes


def read_image(file: str | Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """Read an image file as uint8 (H, W, C) of the shape.

    Returns:
      The image, and notes on what was changed.

    Raises:
      InputError: it is no image; the file is named.
    """
    height, width, channels = shape
    image, notes = open_image(file, channels)
    if image.size != (width, height):
        cropped = " and cropped" if image.width * height != image.height * width else ""
        notes.append(f"resized from {image.width} x {image.height}{cropped} to {width} x {height} pixels")
        image = fit(image, (height, width))
    return to_array(image), notes


def fit(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """Resize a box (left, top, right, bottom) of an image to (H, W); by default the largest in its middle."""
    height, width = size
    if image.size == (width, height) and box is None:
        return image
    if box is None:
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = left, top, image.width - left, image.height - top
    return image.resize((width, height), Image.Resampling.BICUBIC, box)


def decode_image(
    source: Source,
    size: tuple[int, int] | None,
    channels: int,
    min_area: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Read an image file as uint8 (H, W, C).

    Args:
      source: a path, or the content of a file.
      size: (H, W) to fit it to; None: as it is.
      channels: C.
      min_area: of a random resized crop, the least share of the area; used with `rng`.
      rng: of the crop; None: the middle.

    Raises:
      InputError: see `load_image`.
    """
    cropped = rng is not None and min_area > 0
    draft = 0 if size is None else math.ceil(2 * max(size) / (math.sqrt(min_area) if cropped else 1))
    image = convert(load_image(source, draft).image, channels)[0]
    if size is None:
        return to_array(image)
    return to_array(fit(image, size, random_box(image.size, size, min_area, rng) if cropped and rng else None))


def random_box(
    image: tuple[int, int], size: tuple[int, int], min_area: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw a box (left, top, right, bottom) of an image (width, height) with the shape of `size` (H, W).

    Its area is drawn evenly between the share `min_area` and the whole of the largest box of that shape, its place
    evenly.
    """
    scale = min(image[0] / size[1], image[1] / size[0]) * math.sqrt(rng.uniform(min_area, 1))
    width, height = scale * size[1], scale * size[0]
    left, top = rng.uniform(0, 1) * (image[0] - width), rng.uniform(0, 1) * (image[1] - height)
    return left, top, min(left + width, image[0]), min(top + height, image[1])
