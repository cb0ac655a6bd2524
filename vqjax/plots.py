"""Pictures of a run, as PNG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from vqjax.files import replacing
from vqjax.metrics import perplexity

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "codes_used": "codes used"}
_GRID_PIXELS = 640  # small images are enlarged by a whole factor to about this width


def save_grid(path: Path, images: np.ndarray, columns: int = 8) -> None:
    """Images (N, H, W, C) in [0, 1], C 1 or 3, as a grid of squares with white lines between."""
    count, height, width, channels = images.shape
    factor = max(1, _GRID_PIXELS // (columns * (width + 1)))
    pixels = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8).repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor + 2, width * factor + 2
    rows = math.ceil(count / columns)
    canvas = np.full((rows * height + 2, columns * width + 2, channels), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * height + 2, i % columns * width + 2
        canvas[top : top + height - 2, left : left + width - 2] = image
    with replacing(path) as temporary:
        Image.fromarray(canvas[..., 0] if channels == 1 else canvas).save(temporary)


def save_curves(path: Path, lines: Sequence[Mapping], names: Iterable[str]) -> None:
    """The named figures of metrics.jsonl's lines against the step, a panel each, a curve per split."""
    names = [name for name in names if any(name in line for line in lines)]
    splits = [split for split in ("train", "validation", "test") if any(line["split"] == split for line in lines)]
    rows = math.ceil(len(names) / 2)
    figure, axes = plt.subplots(rows, 2, figsize=(10, 3 * rows), squeeze=False, layout="constrained")
    for panel, name in zip(axes.flat, names):
        for split in splits:
            points = [(line["step"], line[name]) for line in lines if line["split"] == split and name in line]
            if points:
                panel.plot(*zip(*points), label=split, marker="." if len(points) < 30 else None)
        panel.set(xlabel="step", ylabel=_LABELS.get(name, name.replace("_", " ")))
        values = [line[name] for line in lines if name in line]
        if name.endswith("loss") and min(values) > 0 and max(values) > 10 * min(values):
            panel.set_yscale("log")
        panel.grid(alpha=0.3)
        panel.legend()
    for panel in axes.flat[len(names) :]:
        panel.remove()
    _save_figure(figure, path)


def save_usage(path: Path, frequency: np.ndarray) -> None:
    """How often each of K codes is used, the most frequent first; frequency (K,) sums to 1."""
    figure, panel = plt.subplots(figsize=(8, 3.5), layout="constrained")
    panel.fill_between(np.arange(1, len(frequency) + 1), 100 * np.sort(frequency)[::-1], step="mid")
    panel.axhline(100 / len(frequency), color="black", linewidth=0.8, linestyle="--", label="all codes alike")
    used = np.count_nonzero(frequency)
    panel.set_title(f"{used} of {len(frequency)} codes used, perplexity {perplexity(frequency):.0f}")
    panel.set(xlabel="code, most frequent first", ylabel="% of positions", ylim=(0, None))
    panel.set_xlim(0.5, len(frequency) + 0.5)
    panel.grid(alpha=0.3)
    panel.legend()
    _save_figure(figure, path)


def _save_figure(figure: plt.Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
