"""Image files as arrays: the one place where Pillow reads, turns, converts and fits them.

What is wrong with a file is an InputError that says why, and leaves it to the caller to say which file.
"""

import contextlib
import io
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path

_GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I")
_MODES = (*_GREY, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_SIXTEEN = 65535 / 255
_one_at_a_time = threading.Lock()  # the filters of warnings are those of all threads


class Probe(NamedTuple):
    """What an image file is.

    Attributes:
      height, width: as it is looked at, turned by its EXIF orientation.
      grey: whether its mode has no colours.
    """

    height: int
    width: int
    grey: bool


@contextlib.contextmanager
def open_source(source: str | Path | bytes, draft: int = 0) -> Iterator[Image.Image]:
    """The image of a file or of the bytes of one, not loaded yet.

    Args:
      source: a path, or bytes.
      draft: pixels that the shorter side keeps at least, if the format can be read smaller (JPEG by 1/2, 1/4, 1/8);
        0: all.

    Raises:
      InputError: it is no regular file, no image, too large, or damaged; also for what fails inside the block.
    """
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            raise InputError("a directory, expected a file" if os.path.isdir(source) else "no regular file")
        with _one_at_a_time, warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            found = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        with found:
            if draft:
                found.draft(None, (draft, draft))
            yield found
    except InputError:
        raise
    except Exception as error:  # Pillow's readers fail in any way on a damaged file
        raise InputError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Why a file gave no image."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"too large, expected at most {Image.MAX_IMAGE_PIXELS:,} pixels"
    reasons: dict[type[Exception], str] = {FileNotFoundError: "no such file", PermissionError: "cannot be read"}
    return reasons.get(type(error), "not an image that can be read")


def probe_image(source: str | Path) -> Probe:
    """What a file is, when all of it has been read: a truncated one is refused. Raises InputError."""
    with open_source(source) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) > 4:  # the orientation: on its side
            width, height = height, width
        _check_mode(image)
        grey = image.mode in _GREY or image.mode == "P" and _grey_palette(image)
        image.draft(None, (1, 1))  # JPEG: an eighth of the size, for speed
        image.load()
    return Probe(height, width, grey)


def _grey_palette(image: Image.Image) -> bool:
    colours = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _check_mode(image: Image.Image) -> None:
    """Raises InputError for images of which it is not known what is black and what is white."""
    if image.mode not in _MODES or image.mode == "I" and image.format not in (None, "PNG", "PPM"):
        raise InputError(f"expected a picture of 8 or 16 bits per channel, found mode {image.mode!r}")


def convert(image: Image.Image, channels: int) -> tuple[Image.Image, list[str]]:
    """A Pillow image of 1 or 3 channels of 8 bits, and notes on what that took.

    Transparency is laid over white; 16 bits are scaled to 8. Raises InputError for floats and colour spaces without a
    conversion.
    """
    notes = []
    _check_mode(image)
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
    """A converted Pillow image as uint8 (H, W, C)."""
    return np.asarray(image, np.uint8).reshape(image.height, image.width, -1)


def open_image(file: str | Path, channels: int) -> tuple[Image.Image, list[str]]:
    """An image file, turned, with 1 or 3 channels, and notes on what that took. Raises InputError that names it."""
    path = absolute_path(file, "image")
    try:
        with open_source(path) as found:
            notes = ["the first of its frames"] if getattr(found, "n_frames", 1) > 1 else []
            found.load()
            image, others = convert(ImageOps.exif_transpose(found), channels)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return image, notes + others


def read_image(file: str | Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """An image file as uint8 (H, W, C) of the shape, and notes on what that took. Raises InputError if it is none."""
    height, width, channels = shape
    image, notes = open_image(file, channels)
    if image.size != (width, height):
        cropped = " and cropped" if image.width * height != image.height * width else ""
        notes.append(f"resized from {image.width} x {image.height}{cropped} to {width} x {height} pixels")
        image = fit(image, (height, width))
    return to_array(image), notes


def fit(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """The image at (H, W): a box (left, top, right, bottom) of it, by default the largest of that shape, its middle."""
    height, width = size
    if image.size == (width, height) and box is None:
        return image
    if box is None:
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = left, top, image.width - left, image.height - top
    return image.resize((width, height), Image.Resampling.BICUBIC, box)


def decode_image(
    source: str | Path | bytes,
    size: tuple[int, int] | None,
    channels: int,
    least: float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """An image file, or the bytes of one, as uint8 (H, W, C).

    Args:
      source: a path, or bytes.
      size: (H, W) to fit it to; None: as it is.
      channels: C.
      least: of a random resized crop, the least share of the area; used with `rng`.
      rng: of the crop; None: the middle.

    Raises:
      InputError: see `opened`.
    """
    cropped = rng is not None and least > 0
    draft = 0 if size is None else math.ceil(2 * max(size) / (math.sqrt(least) if cropped else 1))
    with open_source(source, draft) as image:
        image = convert(ImageOps.exif_transpose(image), channels)[0]
        if size is None:
            return to_array(image)
        return to_array(fit(image, size, random_box(image.size, size, least, rng) if cropped and rng else None))


def random_box(
    image: tuple[int, int], size: tuple[int, int], least: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box (left, top, right, bottom) of an image (width, height) with the shape of `size` (H, W).

    Its area is drawn evenly between the share `least` and the whole of the largest box of that shape, its place evenly.
    """
    scale = min(image[0] / size[1], image[1] / size[0]) * math.sqrt(rng.uniform(least, 1))
    width, height = scale * size[1], scale * size[0]
    left, top = rng.uniform(0, 1) * (image[0] - width), rng.uniform(0, 1) * (image[1] - height)
    return left, top, min(left + width, image[0]), min(top + height, image[1])
