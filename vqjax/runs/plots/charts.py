"""Curves, bars and matrices of a run, as PNG, by Matplotlib. One that cannot be drawn costs a line, never the run."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from vqjax.runs.metrics import frequency_levels, perplexity
from vqjax.runs.plots.fonts import Fonts
from vqjax.runs.side_jobs import drawn
from vqjax.system.files import atomic_write

_LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "codes_used": "codes used", "top5": "top-5 accuracy"}
_COUNTS = ("codes_used",)
_TRAIN = "train: the mean over the steps since the last point, on batches as they are trained on"
_COLORS = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}
_REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": "--"}  # of a line to compare with
_MANY_CODES = 256  # from which on their usage is on a log axis
_MAX_CELLS = 256  # of a map with figures in it
_MAX_CLASSES = 20  # of a confusion matrix with figures in it
_TEXT_LENGTH = 40  # characters of a user's text
_LETTER = 0.1  # inches, of width


@contextlib.contextmanager
def _saved(path: Path, size: tuple[float, float], fonts: Fonts | None = None) -> Iterator[Figure]:
    """Yield a figure that is written to a PNG: the one way of every text into Matplotlib.

    Args:
      path: of the PNG.
      size: width and height in inches.
      fonts: of texts of users, which are drawn as `Fonts.shown` returns them; nothing in them is mathematics.
    """
    fonts = fonts or Fonts(())
    style: dict[Any, Any] = {"font.family": fonts.families, "text.parse_math": False, "text.usetex": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=110)


@drawn
def save_curves(path: Path, lines: Sequence[Mapping], names: Iterable[str]) -> None:
    """Draw the named figures of metrics.jsonl's lines against the step, a panel each, a curve per split.

    A figure that is the same as one before it has no panel. An `order0_` figure is a line across the panel of its name.
    """
    lines = [{name: value for name, value in line.items() if value is not None} for line in lines]
    series = {name: [(line["split"], line["step"], line[name]) for line in lines if name in line] for name in names}
    shown = [name for i, name in enumerate(series) if series[name] not in [[], *list(series.values())[:i]]]
    splits = [split for split in _COLORS if any(line["split"] == split for line in lines)]
    rows = max(1, math.ceil(len(shown) / 2))
    with _saved(path, (10, 3 * rows)) as figure:
        panels = figure.subplots(rows, 2, squeeze=False)
        for panel, name in zip(panels.flat, shown):
            order0 = [line[f"order0_{name}"] for line in lines if f"order0_{name}" in line]
            _draw_curves(panel, name, series[name])
            if order0:
                panel.axhline(order0[-1], label=f"order 0, {splits[-1]}", **_REFERENCE)
            panel.legend()
        for panel in panels.flat[len(shown) :]:
            panel.remove()
        whole = " and ".join(split for split in splits if split != "train")
        figure.supxlabel(f"{_TRAIN}{whole and f'; {whole}: the whole split'}", fontsize="small", color="dimgray")


def _draw_curves(panel: Axes, name: str, points: Sequence[tuple[str, int, float]]) -> None:
    """Draw a figure's points (split, step, value)."""
    for split, color in _COLORS.items():
        curve = [(step, value) for where, step, value in points if where == split]
        if curve:
            panel.plot(*zip(*curve), label=split, marker="." if len(curve) < 30 else None, color=color)
    panel.set(xlabel="step", ylabel=_label(name))
    panel.xaxis.set_major_locator(_whole_numbers())
    values = [value for _, _, value in points]
    if name.endswith(("loss", "entropy")) and min(values) > 0 and max(values) > 10 * min(values):
        _set_log_axis(panel)
    if name.startswith(_COUNTS):
        panel.yaxis.set_major_locator(_whole_numbers())
    panel.grid(alpha=0.3)


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def _whole_numbers() -> MaxNLocator:
    """Return a locator of ticks at whole numbers."""
    return MaxNLocator(integer=True, steps=[1, 2, 5, 10])


def _set_log_axis(panel: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers."""
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())


@drawn
def save_usage(path: Path, frequency: np.ndarray | Mapping[str, np.ndarray]) -> None:
    """Draw how often each of K codes is used, the most frequent first, a curve per level.

    `frequency` is a distribution (K,), a row of (depth, K) per level, or the dict of `metrics.code_frequencies`.
    """
    levels = frequency_levels(frequency)
    sizes = {len(level) for level in levels.values()}
    with _saved(path, (8, 3.5)) as figure:
        panel = figure.subplots()
        for suffix, level in levels.items():
            numbers, shares = np.arange(1, len(level) + 1), 100 * np.sort(level)[::-1]
            if len(levels) == 1:
                panel.fill_between(numbers, shares, step="mid")
                panel.set_title(_describe_usage(level))
            else:
                panel.step(
                    numbers, shares, where="mid", label=f"level{suffix.replace('_', ' ')}: {_describe_usage(level)}"
                )
        for num_codes in sizes if len(sizes) == 1 else ():
            panel.axhline(100 / num_codes, label="all codes alike", **_REFERENCE)
        panel.set(xlabel="code, most frequent first", ylabel="% of positions")
        if max(sizes) > _MANY_CODES:
            _set_log_axis(panel)
        else:
            panel.set_ylim(0, None)
        panel.xaxis.set_major_locator(_whole_numbers())
        panel.set_xlim(0.5, max(sizes) + 0.5)
        panel.grid(alpha=0.3)
        panel.legend()


def _describe_usage(frequency: np.ndarray) -> str:
    used, num_codes = np.count_nonzero(frequency), len(frequency)
    return f"{used:,} of {num_codes:,} codes used, perplexity {perplexity(frequency):.0f}"


@drawn
def save_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Draw figures by position, (h, w) each, side by side on one scale."""
    top = max(value.max() for value in maps.values())
    height, width = next(iter(maps.values())).shape
    few = height * width <= _MAX_CELLS
    size = max(4.0, 0.42 * width if few else 0), max(4.0, 0.42 * height if few else 0)
    with _saved(path, (size[0] * len(maps) + 1, size[1])) as figure:
        panels = figure.subplots(1, len(maps), squeeze=False)
        for panel, (name, value) in zip(panels.flat, maps.items()):
            image = panel.imshow(value, vmin=0, vmax=top)
            for row, column in np.ndindex(*value.shape) if few else ():
                color = "black" if value[row, column] > 0.6 * top else "white"
                panel.text(column, row, f"{value[row, column]:.1f}", ha="center", va="center", color=color, fontsize=8)
            panel.set_title(f"{name.replace('_', ' ').replace('order0', 'order 0')}, mean {value.mean():.2f}")
            panel.set(xticks=[], yticks=[])
        figure.colorbar(image, ax=panels, label="nats")


@drawn
def save_nats_by_steps(path: Path, measured: Mapping[str, float], predicted: Mapping[str, float]) -> None:
    """Draw the nats per code of an image that is drawn in S steps, against S, {S: nats}."""
    with _saved(path, (7, 3.8)) as figure:
        panel = figure.subplots()
        for name, nats, style in (("measured", measured, "o-"), ("predicted", predicted, "x--")):
            panel.plot([int(steps) for steps in nats], list(nats.values()), style, label=name)
        panel.set(xlabel="steps in which an image is drawn", ylabel="nats per code", xscale="log")
        panel.set_xticks([int(steps) for steps in measured], [*measured])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend()


@drawn
def save_confusion(path: Path, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Draw a confusion matrix (C, C), a row per true class, colored by its share of the row.

    Up to 20 classes the cells have figures.
    """
    size, few = len(counts), len(counts) <= _MAX_CLASSES
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    fonts = Fonts(class_names)
    labels = [fonts.shown(name, _TEXT_LENGTH) for name in class_names]
    margin = 2.5 + _LETTER * max(0, max(map(len, labels)) - 12)  # for the labels
    side = margin + (0.55 * size if few else 0.13 * size)
    with _saved(path, (side + 1, side), fonts) as figure:
        panel = figure.subplots()
        image = panel.imshow(100 * share, vmin=0, vmax=100, cmap="Blues")
        for row, column in np.ndindex(*counts.shape) if few else ():
            if counts[row, column]:
                color = "white" if share[row, column] > 0.5 else "black"
                panel.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=color, fontsize=8)
        ticks = range(size)
        panel.set_xticks(ticks, labels, rotation=90, fontsize=9 if few else 5)
        panel.set_yticks(ticks, labels, fontsize=9 if few else 5)
        panel.set(xlabel="predicted class", ylabel="true class", title=f"{np.trace(counts) / counts.sum():.2%} right")
        figure.colorbar(image, ax=panel, label="% of the true class", shrink=0.8)


@drawn
def save_codes_by_class(path: Path, shares: Mapping[str, np.ndarray], class_names: Sequence[str]) -> None:
    """Draw which classes use which codes, a panel per level.

    Args:
      path: of the PNG.
      shares: {name: shares (C, K) of classes and codes among all positions}. A column is a code that is used, colored
        by its part of each class; it stands beside the others that its first class uses most.
      class_names: C names.
    """
    fonts = Fonts(class_names)
    labels = [fonts.shown(name, _TEXT_LENGTH) for name in class_names]
    few = len(labels) <= _MAX_CLASSES
    height = 1 + max(2.0, (0.3 if few else 0.12) * len(labels))
    with _saved(path, (9, height * len(shares)), fonts) as figure:
        panels = figure.subplots(len(shares), 1, squeeze=False)
        for panel, (name, table) in zip(panels.flat, shares.items()):
            of_code = table[:, table.sum(0) > 0]
            of_code = of_code / of_code.sum(0)
            order = np.lexsort((-of_code.max(0), of_code.argmax(0)))
            image = panel.imshow(100 * of_code[:, order], aspect="auto", cmap="Blues", interpolation="nearest")
            panel.set_yticks(range(len(labels)), labels, fontsize=9 if few else 5)
            title = name.replace("_", " ").replace("codes by class", "codes by the class that uses them most")
            panel.set(xlabel=f"{len(order):,} codes that are used", xticks=[], title=title)
            figure.colorbar(image, ax=panel, label="% of the code's uses")


@drawn
def save_runs(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], name: str) -> None:
    """Draw a figure of several runs against the step, a curve (step, value) each."""
    fonts = Fonts(curves)
    with _saved(path, (8, 4.5), fonts) as figure:
        panel = figure.subplots()
        drawn = {run: panel.plot(*zip(*points), marker=".")[0] for run, points in curves.items() if points}
        panel.set(xlabel="step", ylabel=_label(name))
        panel.grid(alpha=0.3)
        # A label that begins with "_" would hide its curve.
        labels = [f"{' ' * run.startswith('_')}{fonts.shown(run, _TEXT_LENGTH)}" for run in drawn]
        panel.legend(list(drawn.values()), labels)


@drawn
def save_comparison(path: Path, labels: Sequence[str], values: Sequence[Sequence[float]], title: str) -> None:
    """Draw a figure of several runs of each label as points, a line each with their mean, the first on top."""
    fonts = Fonts([*labels, title])
    with _saved(path, (8, 1.2 + 0.35 * len(labels)), fonts) as figure:
        panel = figure.subplots()
        for line, runs in enumerate(values):
            mean = sum(runs) / len(runs)
            if len(runs) > 1:
                panel.plot(runs, [line] * len(runs), "|", color="tab:gray", markersize=12)
            panel.plot(mean, line, "o", color="tab:blue")
            offset: dict[str, Any] = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
            panel.annotate(f"{mean:#.4g}", (max(runs), line), **offset)
        panel.set_yticks(range(len(labels)), [fonts.shown(label, _TEXT_LENGTH) for label in labels])
        panel.set(xlabel=fonts.shown(title), ylim=(len(values) - 0.5, -0.5))
        panel.margins(x=0.2)
        panel.grid(alpha=0.3)
