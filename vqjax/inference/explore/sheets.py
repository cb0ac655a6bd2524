"""Many pictures as one in a data URI, and vectors as colors."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

_SHEET_BYTES, _SIDE = 400_000, 256  # of a sheet; pixels of the longer side of each picture in it
# Ways to write a sheet, by which factor it is smaller and how it is compressed. The first that fits is taken.
_QUALITIES: Sequence[tuple[int, dict[str, Any]]] = (
    (1, {"lossless": True}),
    *((1, {"quality": quality}) for quality in (90, 70, 40)),
    *((factor, {"quality": 40}) for factor in (2, 4, 8)),
)


def sheet(images: np.ndarray) -> dict[str, Any]:
    """Return images (N, H, W, C) uint8 as one picture in a data URI, without loss if that fits.

    Returns:
      {"url", "columns", "rows", "count", "size": [H, W]}; the images are in it row by row, `columns` side by side.
    """
    count, height, width, channels = images.shape
    columns = max(1, math.ceil(math.sqrt(count * height / width)))
    rows = max(1, math.ceil(count / columns))
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    pixels = padded.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = pixels.reshape(rows * height, columns * width, channels)
    picture = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    url = "data:image/webp;base64," + base64.b64encode(_webp(picture.reduce(_reduction(height, width)))).decode()
    return {"url": url, "columns": columns, "rows": rows, "count": count, "size": [height, width]}


def _reduction(height: int, width: int) -> int:
    """Return the factor by which pictures are made smaller, so that they have at most `_SIDE` pixels a side."""
    return math.ceil(max(height, width) / _SIDE)


def _webp(picture: Image.Image) -> bytes:
    """Return the picture as WebP, of the best quality that fits."""
    for factor, options in _QUALITIES:
        file = io.BytesIO()
        picture.reduce(factor).save(file, "WEBP", **options)
        if file.tell() <= _SHEET_BYTES:
            break
    return file.getvalue()


def colors(vectors: np.ndarray) -> list[str]:
    """Return a color for each vector (K, D), in CSS: the nearer two vectors, the more alike.

    Their first three principal components, as ranks, are the lightness and the two hues of OKLab.
    """
    centered = vectors - vectors.mean(0)
    components = centered @ np.linalg.svd(centered, full_matrices=False)[2][:3].T
    ranks = np.full((len(vectors), 3), 0.5)
    ranks[:, : components.shape[1]] = components.argsort(0, kind="stable").argsort(0) / max(1, len(vectors) - 1)
    low, high = np.array([0.42, -0.16, -0.16]), np.array([0.88, 0.16, 0.16])
    return ["oklab({:.3f} {:.3f} {:.3f})".format(*row) for row in low + (high - low) * ranks]
