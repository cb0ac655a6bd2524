"""The contents of the page, as JSON can hold them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.codes import require_single
from vqjax.config.schema import Data
from vqjax.data import datasets
from vqjax.data.sets.base import NO_LABEL
from vqjax.data.splits import Split
from vqjax.inference import functions
from vqjax.inference.explore.patches import AROUND, spread, typical_patches
from vqjax.inference.explore.sheets import colors, sheet
from vqjax.runs import devices, metrics
from vqjax.system.errors import InputError
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1

_BATCH = 64  # images at a time
_FIELD = 11  # positions in each direction of the field of one code that is decoded: its edge is not shown
_CLASSES, _CLASSES_IN_ALL = 12, 60_000  # that use a code, the most frequent, and together
_LIKELY, _LIKELY_IN_ALL = 5, 40_000  # codes that the prior gives the highest probability, at a position and together


class PriorSamples(NamedTuple):
    """A trained prior, and the way to draw from it.

    Attributes:
      task: the prior.
      variables: of the checkpoint.
      sample: labels (N,) -> codes and images (N, H, W, C) in [0, 1].
    """

    task: PriorTask
    variables: Mapping[str, Any]
    sample: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Source(NamedTuple):
    """Contents of a page.

    Attributes:
      stage1: whose codes.
      data: `config.data` of the run, with the places where its data are.
      prior: of the codes, if there is one.
    """

    stage1: Stage1
    data: Data
    prior: PriorSamples | None = None


def page_contents(source: Source, num: int, split: str) -> dict[str, Any]:
    """Return all that is on the page but the run's name.

    Args:
      source: whose codes.
      num: images of the split, and samples of the prior.
      split: its name.

    Returns:
      What JSON can hold. Pictures are sheets; codes and probabilities of an image are flat, in raster order; the
      patches of a code follow each other in their sheet, those of code 0 first.

    Raises:
      InputError: the codes are not single, or of clips; or there is no such split.
    """
    stage1, grid = source.stage1, require_single(source.stage1.layout, "--workdir").grid
    if len(grid) > 2:
        raise InputError(f"--workdir: {stage1.path} was trained on clips of {grid[0]} frames, expected images")
    dataset = datasets.open_dataset(source.data)
    datasets.check_same_dataset(dataset, stage1.facts)
    images = datasets.load_split(dataset, split)
    coded = datasets.load_split(dataset, split, stage1.read)
    rows = Split(image=images.arrays["image"], **coded.arrays)
    codes = _codes(stage1, rows)
    frequency = np.array(codes["uses"]) / sum(codes["uses"])
    return {
        "dataset": stage1.facts["dataset"],
        "split": split,
        "count": len(rows),
        "step": stage1.step,
        "grid": list(grid),
        "class_names": list(stage1.facts["class_names"]),
        "perplexity": round(metrics.perplexity(frequency), 1),
        "codes": codes,
        "images": _images(stage1, rows, num),
        "samples": _samples(source.prior, num) if source.prior else None,
    }


def _images(stage1: Stage1, split: Split, count: int) -> dict[str, Any]:
    """Return images of a split, their codes and their reconstructions."""
    rows = spread(len(split), count)
    shown = split[rows].arrays
    decoded = _decode(stage1, shown["codes"])
    errors = ((shown["image"] / 255 - decoded / 255) ** 2).mean((1, 2, 3))
    return {
        "rows": rows.tolist(),
        "labels": shown["label"].tolist(),
        "codes": shown["codes"].reshape(len(rows), -1).tolist(),
        "psnr": [round(metrics.psnr(error), 1) for error in errors],
        "originals": sheet(shown["image"]),
        "reconstructions": sheet(decoded),
    }


def _decode(stage1: Stage1, codes: np.ndarray, edge: int = 0) -> np.ndarray:
    """Return images (N, H, W, C) uint8 of codes (N, h, w), less so many pixels at each edge."""

    def decode(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        images = functions.decode(stage1.task, variables, batch["codes"])
        height, width = images.shape[1:3]
        return functions.to_uint8(images[:, edge : height - edge, edge : width - edge])

    split = Split(codes=codes.astype(np.int32))
    images: np.ndarray = devices.map_split(decode, stage1.variables, split, _BATCH, stage1.settings.parallel, "images")
    return images


def _codes(stage1: Stage1, split: Split) -> dict[str, Any]:
    """Return the use, color, decoded field and typical patches of each of the K codes."""
    count, names = stage1.layout.max_codes, stage1.facts["class_names"]
    classes = max(1, len(names))
    codes = split.arrays["codes"].astype(np.int64)
    labels = split.arrays["label"] if names else np.zeros(len(split), np.int64)
    known = labels != NO_LABEL
    pairs = codes[known] * classes + labels[known, None, None]
    table = np.bincount(pairs.reshape(-1), minlength=count * classes).reshape(count, classes)  # codes by class
    alone = np.broadcast_to(np.arange(count)[:, None, None], (count, _FIELD, _FIELD))
    edge = (_FIELD - AROUND) // 2 * stage1.task.stride
    patches, patch_counts = typical_patches(stage1, split)
    most = min(_CLASSES, max(1, _CLASSES_IN_ALL // count))
    return {
        "colors": colors(np.asarray(stage1.lookup(stage1.variables, jnp.arange(count)))),
        "uses": np.bincount(codes.reshape(-1), minlength=count).tolist(),
        "classes": [_most_frequent(row, most) for row in table] if names else None,
        "alone": sheet(_decode(stage1, alone, edge)),
        "patches": sheet(patches),
        "patch_counts": patch_counts.tolist(),
    }


def _most_frequent(counts: np.ndarray, most: int) -> list[list[int]]:
    """Return [class, count] of the most frequent classes, of the counts of all."""
    order = np.argsort(-counts, kind="stable")[:most]
    return [[int(row), int(counts[row])] for row in order if counts[row]]


def _samples(prior: PriorSamples, count: int) -> dict[str, Any]:
    """Return samples by class, with the probability of the code at each position given those before it."""
    task, layout = prior.task, prior.task.layout
    labels = np.sort(np.arange(count) % len(task.class_names)) if task.conditional else np.zeros(count, np.int64)
    codes, images = prior.sample(labels)
    likely = min(_LIKELY, layout.max_codes, _LIKELY_IN_ALL // codes.size)

    def probabilities(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> tuple[jax.Array, ...]:
        with jax.default_matmul_precision("highest"):  # as in sampling
            p = jax.nn.softmax(task.apply_eval(variables, batch))
        return jnp.take_along_axis(p, task.codes(batch)[..., None], -1)[..., 0], *jax.lax.top_k(p, max(1, likely))

    split = Split(codes=codes.astype(np.int32), label=labels.astype(np.int32))
    p, *ranked = devices.map_split(
        probabilities, prior.variables, split, _BATCH, task.settings.parallel, "probabilities"
    )
    top, which = (array[..., :likely].reshape(count, layout.length, likely) for array in ranked)
    return {
        "labels": labels.tolist() if task.conditional else None,
        "codes": codes.reshape(count, -1).tolist(),
        "nats": np.round(-np.log(np.maximum(p, 1e-30)).sum(1), 1).tolist(),
        "probabilities": np.round(p.astype(float), 4).reshape(count, -1).tolist(),
        "likely": which.tolist(),
        "likely_probabilities": np.round(top.astype(float), 4).tolist(),
        "images": sheet(functions.to_uint8(images)),
    }
