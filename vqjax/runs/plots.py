"""Pictures of a run, as PNG, and clips as GIF."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqjax.runs.metrics import perplexity
from vqjax.system.files import atomic_write

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

_LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "codes_used": "codes used", "top5": "top-5 accuracy"}
_COUNTS = ("codes_used",)
_TRAIN = "train: the mean over the steps since the last point, on batches as they are trained on"
_CAPTION = 14  # pixels of height
_LINE = 2  # pixels between images
_GAP = 4  # between pairs of them; twice that between rows
_FILM_FRAMES = 48
_FILM_PIXELS = 320  # of width, about
_FRAME_TIME = 100  # milliseconds
_GRID_PIXELS = 1100  # of a grid's width, at most: 16 pairs of 32 x 32 pixels, enlarged
_TILE = 56  # of an image's width, at least: smaller ones are enlarged by a whole factor
_RED = "#c00000"
_COLOURS = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}
_REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": "--"}  # of a line to compare with
_MANY = 256  # codes from which on their usage is on a log axis
_CELLS = 256  # positions up to which a map has figures in it


def save_pictures(path: Path, images: Any, *grid: Any) -> Path:
    """Images (N, H, W, C) as a grid, or clips (N, T, H, W, C) as a film; `path` lacks the suffix, .png or .gif.

    The rest is that of `save_grid`; a film has none of it. Returns the path that was written.
    """
    if images.ndim > 4:
        path = path.with_name(f"{path.name}.gif")
        save_film(path, np.asarray(images))
    else:
        path = path.with_name(f"{path.name}.png")
        save_grid(path, images, *grid)
    return path


def save_film(path: Path, clips: np.ndarray) -> None:
    """The first of the clips (N, T, H, W, C) in [0, 1] after each other, as an animated GIF; C is 1 or 3."""
    frames = clips.reshape(-1, *clips.shape[2:])[:_FILM_FRAMES]
    factor = max(1, _FILM_PIXELS // frames.shape[2])
    films = [Image.fromarray(frame) for frame in _pixels(frames, factor)]
    sheet = Image.new("RGB", (films[0].width, films[0].height * len(films)))
    for i, film in enumerate(films):
        sheet.paste(film, (0, i * film.height))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)  # of all frames: else colours flicker
    films = [film.quantize(palette=palette, dither=Image.Dither.NONE) for film in films]
    with atomic_write(path) as temporary:
        films[0].save(temporary, save_all=True, append_images=films[1:], duration=_FRAME_TIME, loop=0)


def save_grid(
    path: Path,
    images: Any,
    captions: Sequence[str] | None = None,
    below: Any = None,
    title: str = "",
    wrong: Sequence[bool] | None = None,
    period: int = 1,
) -> None:
    """Images as a grid with white lines between, as many side by side as fit.

    Args:
      path: of the PNG.
      images: (N, H, W, C) in [0, 1], C 1 or 3.
      captions: a text under each image.
      below: (N, H, W, C), a second image close under each.
      title: a line above all.
      wrong: which captions are red.
      period: of the images; the columns are a multiple of it if that fits.
    """
    font = ImageFont.load_default(_CAPTION - 2)
    count, _, width, channels = images.shape
    widest = max(map(font.getlength, captions)) if captions else 0
    factor = max(1, math.ceil(max(_TILE, widest) / width))
    tiles = _pixels(np.asarray(images), factor)
    if below is not None:
        line = np.full((len(tiles), _LINE, *tiles.shape[2:]), 255, np.uint8)
        tiles = np.concatenate([tiles, line, _pixels(np.asarray(below), factor)], axis=1)
    height, width = tiles.shape[1:3]
    head, text = (_CAPTION if title else 0), (_CAPTION if captions else 0)
    step = (height + text + _LINE, width + _LINE) if below is None else (height + text + 2 * _GAP, width + _GAP)
    columns = _columns(count, max(1, _GRID_PIXELS // step[1]), period)
    size = max(columns * step[1] + _LINE, math.ceil(font.getlength(title)) + 8), -(-count // columns) * step[0] + _LINE
    canvas = Image.new("RGB", (size[0], head + size[1]), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((4, head / 2 + 1), title, "black", font, anchor="lm")
    for i, tile in enumerate(tiles):
        top, left = head + i // columns * step[0] + _LINE, i % columns * step[1] + _LINE
        canvas.paste(Image.fromarray(tile), (left, top))
        if captions:
            colour = _RED if wrong is not None and wrong[i] else "black"
            draw.text((left + width / 2, top + height + text / 2), captions[i], colour, font, anchor="mm")
    with atomic_write(path) as temporary:
        (canvas if channels == 3 or captions or title else canvas.convert("L")).save(temporary)


def _columns(count: int, most: int, period: int) -> int:
    """Images side by side, of so many: multiples of the period if they fit, without a gap in the last row if that
    takes no more than half of the columns.
    """
    most = min(count, most)
    fitting = range(period, most + 1, period) if period <= most else range(1, most + 1)
    even = [columns for columns in fitting if count % columns == 0 and 2 * columns >= fitting[-1]]
    return even[-1] if even else fitting[-1]


def _pixels(images: np.ndarray, factor: int) -> np.ndarray:
    """Images (N, H, W, C) in [0, 1] -> enlarged (N, factor H, factor W, 3) uint8."""
    pixels = np.round(255 * np.clip(np.nan_to_num(images), 0, 1)).astype(np.uint8)
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def save_curves(path: Path, lines: Sequence[Mapping], names: Iterable[str]) -> None:
    """The named figures of metrics.jsonl's lines against the step, a panel each, a curve per split.

    A figure that is the same as one before it has no panel. Where there is an `order0_` figure, it is a line across.
    """
    lines = [{name: value for name, value in line.items() if value is not None} for line in lines]
    series = {name: [(line["split"], line["step"], line[name]) for line in lines if name in line] for name in names}
    names = [name for i, name in enumerate(series) if series[name] and series[name] not in list(series.values())[:i]]
    splits = [split for split in ("train", "validation", "test") if any(line["split"] == split for line in lines)]
    rows = max(1, math.ceil(len(names) / 2))
    figure, axes = plt.subplots(rows, 2, figsize=(10, 3 * rows), squeeze=False, layout="constrained")
    for panel, name in zip(axes.flat, names):
        for split in splits:
            points = [(step, value) for where, step, value in series[name] if where == split]
            if points:
                marker = "." if len(points) < 30 else None
                panel.plot(*zip(*points), label=split, marker=marker, color=_COLOURS[split])
        if order0 := [line[f"order0_{name}"] for line in lines if f"order0_{name}" in line]:
            panel.axhline(order0[-1], label=f"order 0, {splits[-1]}", **_REFERENCE)
        panel.set(xlabel="step", ylabel=_LABELS.get(name, name.replace("_", " ")))
        panel.xaxis.set_major_locator(_whole())
        values = [value for _, _, value in series[name]]
        if name.endswith(("loss", "entropy")) and min(values) > 0 and max(values) > 10 * min(values):
            _log_axis(panel)
        if name in _COUNTS:
            panel.yaxis.set_major_locator(_whole())
        panel.grid(alpha=0.3)
        panel.legend()
    for panel in axes.flat[len(names) :]:
        panel.remove()
    whole = " and ".join(split for split in splits if split != "train")
    figure.supxlabel(f"{_TRAIN}{whole and f'; {whole}: the whole split'}", fontsize="small", color="dimgray")
    _save_figure(figure, path)


def _whole() -> MaxNLocator:
    """Ticks at whole numbers."""
    return MaxNLocator(integer=True, steps=[1, 2, 5, 10])


def _log_axis(panel: plt.Axes) -> None:
    """Makes the y axis logarithmic, with plain numbers."""
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


def save_usage(path: Path, frequency: np.ndarray) -> None:
    """How often each of K codes is used, the most frequent first; rows of frequency, (K,) or (depth, K), sum to 1."""
    levels = np.atleast_2d(frequency)
    count = levels.shape[1]
    figure, panel = plt.subplots(figsize=(8, 3.5), layout="constrained")
    for number, row in enumerate(levels, 1):
        name = f"level {number}" if len(levels) > 1 else None
        shares = 100 * np.sort(row)[::-1]
        panel.fill_between(np.arange(1, count + 1), shares, step="mid", label=name, alpha=1 / len(levels))
    panel.axhline(100 / count, label="all codes alike", **_REFERENCE)
    used = ", ".join(f"{np.count_nonzero(row):,}" for row in levels)
    perplexities = ", ".join(f"{perplexity(row):.0f}" for row in levels)
    panel.set_title(f"{used} of {count:,} codes used, perplexity {perplexities}")
    panel.set(xlabel="code, most frequent first", ylabel="% of positions")
    if count > _MANY:
        _log_axis(panel)
    else:
        panel.set_ylim(0, None)
    panel.xaxis.set_major_locator(_whole())
    panel.set_xlim(0.5, count + 0.5)
    panel.grid(alpha=0.3)
    panel.legend()
    _save_figure(figure, path)


def save_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Figures by position, (h, w) each, side by side on one scale."""
    top = max(value.max() for value in maps.values())
    height, width = next(iter(maps.values())).shape
    few = height * width <= _CELLS
    size = max(4.0, 0.42 * width if few else 0), max(4.0, 0.42 * height if few else 0)
    figure, axes = plt.subplots(1, len(maps), figsize=(size[0] * len(maps) + 1, size[1]), squeeze=False)
    figure.set_layout_engine("constrained")
    for panel, (name, value) in zip(axes.flat, maps.items()):
        drawn = panel.imshow(value, vmin=0, vmax=top)
        for row, column in np.ndindex(*value.shape) if few else ():
            colour = "black" if value[row, column] > 0.6 * top else "white"
            panel.text(column, row, f"{value[row, column]:.1f}", ha="center", va="center", color=colour, fontsize=8)
        panel.set_title(f"{name.replace('_', ' ').replace('order0', 'order 0')}, mean {value.mean():.2f}")
        panel.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes, label="nats")
    _save_figure(figure, path)


def save_confusion(path: Path, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """A confusion matrix (C, C), a row per true class, coloured by its share of that; with figures up to 20 classes."""
    size, few = len(counts), len(counts) <= 20
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + (0.55 * size if few else 0.13 * size)
    figure, panel = plt.subplots(figsize=(side + 1, side), layout="constrained")
    drawn = panel.imshow(100 * share, vmin=0, vmax=100, cmap="Blues")
    for row, column in np.ndindex(*counts.shape) if few else ():
        if counts[row, column]:
            colour = "white" if share[row, column] > 0.5 else "black"
            panel.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    ticks, font = range(size), 9 if few else 5
    panel.set_xticks(ticks, class_names, rotation=90, fontsize=font)
    panel.set_yticks(ticks, class_names, fontsize=font)
    panel.set(xlabel="predicted class", ylabel="true class", title=f"{np.trace(counts) / counts.sum():.2%} right")
    figure.colorbar(drawn, ax=panel, label="% of the true class", shrink=0.8)
    _save_figure(figure, path)


def save_runs(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], name: str) -> None:
    """A figure of several runs against the step, a curve (step, value) each."""
    figure, panel = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for run, points in curves.items():
        if points:
            panel.plot(*zip(*points), label=run, marker=".")
    panel.set(xlabel="step", ylabel=_LABELS.get(name, name.replace("_", " ")))
    panel.grid(alpha=0.3)
    panel.legend()
    _save_figure(figure, path)


def save_comparison(path: Path, labels: Sequence[str], values: Sequence[Sequence[float]], title: str) -> None:
    """A figure of several runs of each label as points, a line each with their mean, the first on top."""
    figure, panel = plt.subplots(figsize=(8, 1.2 + 0.35 * len(labels)), layout="constrained")
    for line, runs in enumerate(values):
        mean = sum(runs) / len(runs)
        if len(runs) > 1:
            panel.plot(runs, [line] * len(runs), "|", color="tab:gray", markersize=12)
        panel.plot(mean, line, "o", color="tab:blue")
        panel.annotate(f"{mean:#.4g}", (max(runs), line), xytext=(8, 0), textcoords="offset points", va="center")
    panel.set_yticks(range(len(labels)), labels)
    panel.set(xlabel=title, ylim=(len(values) - 0.5, -0.5))
    panel.margins(x=0.15)
    panel.grid(alpha=0.3)
    _save_figure(figure, path)


def _save_figure(figure: plt.Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
