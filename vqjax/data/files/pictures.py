"""Image files, read by Pillow: which ones are tried, what costs an image and what does not.

What is wrong with a file is an InputError that says why, and leaves it to the caller to say which file.
"""

import contextlib
import functools
import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vqjax.data.files.damage import first_line
from vqjax.system.errors import InputError

# Endings of image files, those of formats that Pillow does not read among them: it is said which files are left out.
ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .gif .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .tga .icb .vda .vst "
    ".pcx .ico .sgi .rgb .rgba .bw .ras .qoi .psd .dds .jp2 .j2k .jpf .jpx .j2c .jpc .avif .avifs .heic .heif .jxl "
    ".svg .eps .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .exr .hdr".split()
)
_SIGNED = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF")  # known by their first bytes
# Formats that are tried where the ending is an image's. Not EPS, which Ghostscript would run.
_OTHERS = ("PPM", "TGA", "PCX", "ICO", "SGI", "SUN", "QOI", "PSD", "DDS", "DIB")
_GRAY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I")
_MODES = (*_GRAY, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_ORIENTATION = 0x0112  # tag of EXIF
_UPRIGHT = {  # orientation -> what turns an image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STARTS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_one_at_a_time = threading.Lock()  # the filters of warnings are those of all threads

Source = str | Path | bytes  # a path, or the content of a file


class LoadedImage(NamedTuple):
    """First frame of an image file.

    Attributes:
      image: loaded and upright; smaller than the file's where a draft was asked for.
      size: (width, height) of the file's, upright.
      animated: whether the file has more frames.
    """

    image: Image.Image
    size: tuple[int, int]
    animated: bool


class Probe(NamedTuple):
    """Description of an image file.

    Attributes:
      reason: why it cannot be read, or "".
      height, width: upright.
      gray: whether its mode has no colors.
      animated: whether it has more than one frame.
    """

    reason: str = ""
    height: int = 0
    width: int = 0
    gray: bool = False
    animated: bool = False


def is_image_name(path: str | Path) -> bool:
    """Return whether a file is an image's by its ending."""
    return os.path.splitext(path)[1].lower() in ENDINGS


def load_image(source: Source, draft: int = 0) -> LoadedImage:
    """Read the first frame of an image file. Broken metadata is dropped.

    Args:
      source: a path, or the content of a file.
      draft: pixels that the shorter side keeps at least, if the format can be read smaller (JPEG by 1/2, 1/4, 1/8);
        0: all.

    Raises:
      InputError: it is no regular file, no image, too large, damaged, or of a mode that is not known to be a picture.
    """
    try:
        with open_image_file(source) as image:
            return _load(image, draft)
    except InputError as error:
        if (bare := _without_metadata(source)) is None:
            raise
        with contextlib.suppress(InputError), open_image_file(bare) as image:
            return _load(image, draft)
        raise error


@contextlib.contextmanager
def open_image_file(source: Source) -> Iterator[Image.Image]:
    """Open an image file, not loaded yet. Raises InputError, see `load_image`; also for what fails inside the block."""
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            raise InputError("a directory, expected a file" if os.path.isdir(source) else "no regular file")
        formats = _formats(isinstance(source, bytes) or is_image_name(source))
        with _quiet():
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
        with image:
            yield image
    except InputError:
        raise
    except Exception as error:  # Pillow's readers fail in any way on a damaged file
        raise InputError(_reason(error, source)) from error


def probe_image(source: str | Path) -> Probe:
    """Describe a file, after all of it has been read: a truncated one has a reason."""
    try:
        image, (width, height), animated = load_image(source, 1)  # JPEG: an eighth of the size, for speed
    except InputError as error:
        return Probe(str(error))
    gray = image.mode in _GRAY or image.mode == "P" and _has_gray_palette(image)
    return Probe("", height, width, gray, animated)


def check_mode(image: Image.Image) -> None:
    """Raise InputError for images of which it is not known what is black and what is white."""
    if image.mode not in _MODES or image.mode == "I" and image.format not in (None, "PNG", "PPM"):
        raise InputError(f"expected a picture of 8 or 16 bits per channel, found mode {image.mode!r}")


def _load(image: Image.Image, draft: int) -> LoadedImage:
    check_mode(image)
    width, height = image.size
    with _quiet():
        orientation = _orientation(image)
    animated = image.format != "MPO" and getattr(image, "is_animated", False)  # a camera's: one picture, several sizes
    if draft:
        image.draft(None, (draft, draft))
    image.load()
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    return LoadedImage(upright, (height, width) if orientation > 4 else (width, height), animated)


def _orientation(image: Image.Image) -> int:
    """Orientation by EXIF, 1 to 8; 1 if that is broken."""
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # metadata never costs an image
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _has_gray_palette(image: Image.Image) -> bool:
    colors = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    return bool((colors == colors[:, :1]).all())


@functools.cache
def _formats(by_name: bool) -> tuple[str, ...]:
    """Formats that are tried: those with a signature, and with an image's ending others."""
    with _one_at_a_time:
        Image.init()
    return tuple(name for name in _SIGNED + _OTHERS * by_name if name in Image.OPEN)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Pillow's warnings pass unseen, but for images that are too large: those are errors."""
    with _one_at_a_time, warnings.catch_warnings(action="ignore"):
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        yield


def _reason(error: Exception, source: Source) -> str:
    """Return why a file gave no image."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"too large, expected at most {Image.MAX_IMAGE_PIXELS:,} pixels"
    reasons: dict[type[Exception], str] = {FileNotFoundError: "no such file", PermissionError: "cannot be read"}
    if type(error) in reasons:
        return reasons[type(error)]
    start = _content(source, 12)
    if not start:
        return "empty"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        return "a HEIC image, which Pillow does not read: convert it to JPEG or PNG"
    known = next((name for magic, name in _STARTS.items() if start.startswith(magic)), "")
    if isinstance(error, Image.UnidentifiedImageError):
        return f"a damaged {known} file" if known else "not an image that can be read"
    return f"damaged: {first_line(error)}"


def _content(source: Source, size: int = -1) -> bytes:
    """Return the first bytes of a file, or all; b"" if it cannot be read."""
    if isinstance(source, bytes):
        return source if size < 0 else source[:size]
    try:
        with open(source, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _without_metadata(source: Source) -> bytes | None:
    """Return a PNG or JPEG file less what may be broken beside its pixels; None for other files."""
    if not isinstance(source, bytes) and not os.path.isfile(source):
        return None
    start = _content(source, 4)
    if start == b"\x89PNG":
        return _bare_png(_content(source))
    return _bare_jpeg(_content(source)) if start[:3] == b"\xff\xd8\xff" else None


def _bare_png(content: bytes) -> bytes:
    """Return the chunks that pixels need, and the orientation."""
    parts, at = [content[:8]], 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        intact = zlib.crc32(content[at + 4 : end - 4]).to_bytes(4, "big") == content[end - 4 : end]
        if kind[:1].isupper() or kind == b"tRNS" or kind == b"eXIf" and intact:
            parts.append(content[at:end])
        at = end
    return b"".join(parts)


def _bare_jpeg(content: bytes) -> bytes:
    """Return the segments that pixels need, and the orientation."""
    parts, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:  # the pixels follow that
        marker, length = struct.unpack_from(">BH", content, at + 1)
        end = at + 2 + length
        beside = 0xE0 <= marker <= 0xEF or marker == 0xFE
        colors = marker == 0xEE and length >= 14  # Adobe's: which transform was used
        exif = marker == 0xE1 and content[at + 4 : at + 8] == b"Exif"
        if not beside or colors or exif:
            parts.append(content[at:end])
        at = end
    return b"".join([*parts, content[at:]])
