"""Images as grids, PNG, and clips as films, GIF, by Pillow."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqjax.runs.plots.fonts import DEFAULT, Fonts
from vqjax.runs.side_jobs import drawn
from vqjax.system.files import atomic_write

_FONT_SIZE = 11  # pixels
_CAPTION_HEIGHT = 14
_CAPTION_LENGTH = 40  # characters
_TITLE_LENGTH = 200
_LINE = 2  # pixels between images
_GAP = 4  # pixels between pairs of images; twice that between rows
_FILM_FRAMES = 48
_FILM_WIDTH = 320  # pixels, about
_FRAME_TIME = 100  # milliseconds
_GRID_WIDTH = 1100  # pixels, at most: 16 pairs of 32 x 32 pixels, enlarged
_TILE_WIDTH = 56  # pixels, at least: smaller images are enlarged by a whole factor
_RED = "#c00000"


def save_pictures(path: Path, images: Any, *grid: Any) -> Path:
    """Write images (N, H, W, C) as a grid, or clips (N, T, H, W, C) as a film; failing to costs a line.

    Args:
      path: without a suffix.
      images: in [0, 1].
      grid: further arguments of `save_grid`; a film has none of it.

    Returns:
      The path of the PNG or GIF. Where that cannot be drawn, nothing lies there.
    """
    if np.ndim(images) > 4:
        path = path.with_name(f"{path.name}.gif")
        drawn(save_film)(path, np.asarray(images))
    else:
        path = path.with_name(f"{path.name}.png")
        drawn(save_grid)(path, images, *grid)
    return path


def save_film(path: Path, clips: np.ndarray) -> None:
    """Write the first of the clips (N, T, H, W, C) in [0, 1] after each other, as an animated GIF; C is 1 or 3."""
    frames = clips.reshape(-1, *clips.shape[2:])[:_FILM_FRAMES]
    factor = max(1, _FILM_WIDTH // frames.shape[2])
    pictures = [Image.fromarray(frame) for frame in _to_pixels(frames, factor)]
    sheet = Image.new("RGB", (pictures[0].width, pictures[0].height * len(pictures)))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (0, i * picture.height))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)  # one for all frames, or else colors flicker
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_write(path) as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=_FRAME_TIME, loop=0)


def save_grid(
    path: Path,
    images: Any,
    captions: Sequence[str] | None = None,
    below: Any = None,
    title: str = "",
    wrong: Sequence[bool] | None = None,
    period: int = 1,
    columns: int = 0,
) -> None:
    """Write images as a grid with white lines between, as many side by side as fit.

    Args:
      path: of the PNG.
      images: (N, H, W, C) in [0, 1], C 1 or 3.
      captions: a text under each image.
      below: (N, H, W, C), a second image close under each.
      title: a line above all.
      wrong: which captions are red.
      period: of the images; the columns are a multiple of it if that fits.
      columns: number of images side by side; 0: as many as fit.
    """
    texts = _Texts(captions or (), title)
    factor = max(1, math.ceil(max([_TILE_WIDTH, *map(texts.width, texts.captions)]) / images.shape[2]))
    tiles = _tiles(images, below, factor)
    height, width = tiles.shape[1:3]
    head, foot = (_CAPTION_HEIGHT if title else 0), (_CAPTION_HEIGHT if captions else 0)
    gap_below, gap = (_LINE, _LINE) if below is None else (2 * _GAP, _GAP)
    row, column = height + foot + gap_below, width + gap
    columns = columns or _num_columns(len(tiles), max(1, _GRID_WIDTH // column), period)
    size = max(columns * column + _LINE, math.ceil(texts.width(texts.title)) + 8), -(-len(tiles) // columns) * row
    canvas = Image.new("RGB", (size[0], head + size[1] + _LINE), "white")
    texts.draw(canvas, 4, head / 2 + 1, texts.title)
    for i, tile in enumerate(tiles):
        x, y = i % columns * column + _LINE, head + i // columns * row + _LINE
        canvas.paste(Image.fromarray(tile), (x, y))
        if captions:
            red = wrong is not None and wrong[i]
            texts.draw_centered(canvas, x + width / 2, y + height + foot / 2, texts.captions[i], red)
    _save(canvas if images.shape[3] == 3 or captions or title else canvas.convert("L"), path)


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_write(path) as temporary:
        picture.save(temporary)


def _tiles(images: Any, below: Any, factor: int) -> np.ndarray:
    """Return images (N, H, W, C), enlarged, each above the second one if there is one: (N, h, w, 3) uint8."""
    tiles = _to_pixels(np.asarray(images), factor)
    if below is None:
        return tiles
    line = np.full((len(tiles), _LINE, *tiles.shape[2:]), 255, np.uint8)
    return np.concatenate([tiles, line, _to_pixels(np.asarray(below), factor)], axis=1)


def _num_columns(count: int, limit: int, period: int) -> int:
    """Return how many of `count` images stand side by side, up to a limit.

    A multiple of the period if that fits; and one without a gap in the last row, if it is at least half of the limit.
    """
    limit = min(count, limit)
    candidates = range(period, limit + 1, period) if period <= limit else range(1, limit + 1)
    even = [columns for columns in candidates if count % columns == 0 and 2 * columns >= candidates[-1]]
    return even[-1] if even else candidates[-1]


def _to_pixels(images: np.ndarray, factor: int) -> np.ndarray:
    """Return images (N, H, W, C) in [0, 1] enlarged, as (N, factor H, factor W, 3) uint8."""
    pixels = np.round(255 * np.clip(np.nan_to_num(images), 0, 1)).astype(np.uint8)
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


class _Texts:
    """The captions and the title of a grid as they are shown, each character in a font that has it."""

    def __init__(self, captions: Sequence[str], title: str):
        self._fonts = Fonts([*captions, title])
        self.captions = [self._fonts.shown(caption, _CAPTION_LENGTH) for caption in captions]
        self.title = self._fonts.shown(title, _TITLE_LENGTH)
        ascent, descent = _font(DEFAULT.path).getmetrics()
        self._baseline = (ascent - descent) / 2  # below the middle of a line

    def width(self, text: str) -> float:
        """Return the width in pixels of a shown text."""
        return sum(_font(path).getlength(part) for part, path in self._fonts.runs(text))

    def draw_centered(self, canvas: Image.Image, center: float, middle: float, text: str, red: bool) -> None:
        """Draw a shown text about `center`."""
        self.draw(canvas, center - self.width(text) / 2, middle, text, _RED if red else "black")

    def draw(self, canvas: Image.Image, x: float, middle: float, text: str, color: str = "black") -> None:
        """Draw a shown text from `x` to the right, about the middle of its line."""
        for part, path in self._fonts.runs(text):
            ImageDraw.Draw(canvas).text((x, middle + self._baseline), part, color, _font(path), anchor="ls")
            x += _font(path).getlength(part)


@functools.cache
def _font(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _FONT_SIZE)
