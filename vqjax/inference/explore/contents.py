"""Contents of the page, as JSON can hold them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.codes import Codes
from vqjax.config.schema import Data
from vqjax.data import datasets
from vqjax.data.sets.base import NO_LABEL
from vqjax.data.splits import Split
from vqjax.inference import functions
from vqjax.inference.explore.patches import AROUND, spread, typical_patches
from vqjax.inference.explore.probabilities import RESULTS, with_probabilities
from vqjax.inference.explore.sheets import colors, sheet
from vqjax.inference.explore.views import View, views_of
from vqjax.runs import devices, metrics
from vqjax.system.errors import InputError
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1

_FIELD = 11  # positions in each direction, at least, of the field of one code that is decoded: its edge is not shown
_CLASSES, _CLASSES_IN_ALL = 12, 60_000  # that use a code, the most frequent, and together
_COMPLETED = 24  # images that are completed, at most


class PriorSamples(NamedTuple):
    """A trained prior, and the way to draw from it.

    Attributes:
      task: the prior.
      variables: of the checkpoint.
      sample: labels (N,) -> codes and images (N, H, W, C) in [0, 1].
      keep: pixels that completions keep, (H, W) bool.
      complete: images (N, H, W, C) uint8 and labels (N,) -> codes and images (N, H, W, C) in [0, 1], completed.
    """

    task: PriorTask
    variables: Mapping[str, Any]
    sample: Callable[[np.ndarray], tuple[Codes, np.ndarray]]
    keep: np.ndarray
    complete: Callable[[np.ndarray, np.ndarray], tuple[Codes, np.ndarray]]


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
      patches of a code follow each other in their sheet, those of code 0 first. Of several levels, or codes per
      position, {"views": {name: the same for each}}.

    Raises:
      InputError: the codes are of clips; or there is no such split.
    """
    stage1, views = source.stage1, views_of(source.stage1.layout)
    grid = stage1.layout.levels[0].grid
    if len(grid) > 2:
        raise InputError(f"--workdir: {stage1.path} was trained on clips of {grid[0]} frames, expected images")
    dataset = datasets.reopen_dataset(source.data, stage1.facts)
    images = datasets.load_split(dataset, split)
    coded = datasets.load_split(dataset, split, stage1.read)
    rows = Split(image=images.arrays["image"], **coded.arrays)
    shared: dict[str, Any] = {"images": _images(stage1, rows, num)}
    if prior := source.prior:
        shared |= {"samples": _samples(prior, num), **_completions(prior, rows, num)}
        shared = with_probabilities(prior.task, prior.variables, shared)
    contents = {view.name: _view(stage1, view, rows, split, shared) for view in views}
    return contents[views[0].name] if len(views) == 1 else {"views": contents}


def _view(stage1: Stage1, view: View, rows: Split, split: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of a view.

    Args:
      stage1: whose codes.
      view: of them.
      rows: images of the split, and their codes.
      split: its name.
      shared: `images` and, with a prior, `samples` and `completions`, with codes and probabilities by the suffixes of
        views.
    """
    codes = _codes(stage1, view, rows)
    frequency = np.array(codes["uses"]) / sum(codes["uses"])
    return {
        "dataset": stage1.facts["dataset"],
        "split": split,
        "count": len(rows),
        "step": stage1.step,
        "grid": list(view.level.grid),
        "class_names": list(stage1.facts["class_names"]),
        "perplexity": round(metrics.perplexity(frequency), 1),
        "codes": codes,
        "images": _of_view(shared["images"], view),
        "samples": _of_view(shared.get("samples"), view),
        "completions": _of_view(shared.get("completions"), view),
    }


def _of_view(pictures: Mapping[str, Any] | None, view: View) -> dict[str, Any] | None:
    """Return pictures with the codes of a view, flat, and their probabilities, if the prior models it.

    None if there are none of it.
    """
    if not pictures or view.suffix not in pictures["codes"]:
        return None
    codes = pictures["codes"][view.suffix]
    shown = {name: value for name, value in pictures.items() if name not in RESULTS}
    shown["codes"] = codes.reshape(len(codes), -1).tolist()
    if view.suffix not in pictures.get("p", {}):
        return shown
    p, *ranked = (pictures[name][view.suffix] for name in RESULTS)
    p = p.reshape(len(p), -1).astype(float)
    likely, probabilities = (grid.reshape(*grid.shape[:2], p.shape[1]).swapaxes(1, 2).tolist() for grid in ranked)
    return {
        **shown,
        "nats": np.round(-np.log(np.maximum(p, 1e-30)).sum(1), 1).tolist(),
        "probabilities": np.round(p, 4).tolist(),
        "likely": likely,
        "likely_probabilities": probabilities,
    }


def _images(stage1: Stage1, split: Split, count: int) -> dict[str, Any]:
    """Return images of a split, their codes by the suffixes of views, and their reconstructions."""
    rows = spread(len(split), count)
    shown = split[rows].arrays
    arrays = {name: shown[name].astype(np.int32) for name in stage1.layout.names}

    def decode(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        return functions.to_uint8(functions.decode(stage1.task, variables, stage1.layout.join(batch)))

    decoded = _map(stage1, decode, Split(**arrays))
    errors = ((shown["image"] / 255 - decoded / 255) ** 2).mean((1, 2, 3))
    return {
        "rows": rows.tolist(),
        "labels": shown["label"].tolist(),
        "codes": stage1.layout.maps(stage1.layout.flatten(stage1.layout.join(arrays))),
        "psnr": [round(metrics.psnr(error), 1) for error in errors],
        "originals": sheet(shown["image"]),
        "reconstructions": sheet(decoded),
    }


def _map(stage1: Stage1, function: Callable, split: Split) -> np.ndarray:
    """Apply a function (variables, batch) -> images to a split, on all devices."""
    batch_size = devices.images_at_a_time(stage1.task.image_shape)
    images: np.ndarray = devices.map_split(
        function, stage1.variables, split, batch_size, stage1.settings.parallel, "images"
    )
    return images


def _codes(stage1: Stage1, view: View, split: Split) -> dict[str, Any]:
    """Return the use, color, decoded field and typical patches of each of the K codes."""
    count, names = view.level.num_codes, stage1.facts["class_names"]
    classes = max(1, len(names))
    codes = view.codes(split.arrays).astype(np.int64)
    labels = split.arrays["label"] if names else np.zeros(len(split), np.int64)
    known = labels != NO_LABEL
    pairs = codes[known] * classes + labels[known, None, None]
    table = np.bincount(pairs.reshape(-1), minlength=count * classes).reshape(count, classes)  # codes by class
    patches, patch_counts = typical_patches(stage1, view, split)
    most = min(_CLASSES, max(1, _CLASSES_IN_ALL // count))
    return {
        "colors": colors(np.asarray(view.vectors(stage1.task.code_vectors(stage1.variables)))),
        "uses": np.bincount(codes.reshape(-1), minlength=count).tolist(),
        "classes": [_most_frequent(row, most) for row in table] if names else None,
        "alone": sheet(_alone(stage1, view)),
        "patches": sheet(patches),
        "patch_counts": patch_counts.tolist(),
    }


def _alone(stage1: Stage1, view: View) -> np.ndarray:
    """Return the middle (K, h, w, C) uint8 of a field of each code, decoded without any other level or depth."""
    strides = stage1.task.module.strides
    coarsest, stride = max(strides), strides[view.number]
    pixels = -(-_FIELD * stride // coarsest) * coarsest  # a multiple of all strides
    start = (pixels // stride - AROUND) // 2 * stride

    def decode(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        tables, count, fields = stage1.task.code_vectors(variables), len(batch["code"]), []
        for number, name in enumerate(stage1.task.module.level_names):
            width = (tables[name] if stage1.layout.by_name else tables).shape[-1]
            own = number == view.number
            vectors = view.vectors(tables)[batch["code"]] if own else jnp.zeros((count, width))
            side = pixels // strides[number]
            fields.append(jnp.broadcast_to(vectors[:, None, None], (count, side, side, width)))
        images = functions.decode(stage1.task, variables, stage1.task.by_level(fields))
        inside = slice(start, start + AROUND * stride)
        return functions.to_uint8(images[:, inside, inside])

    return _map(stage1, decode, Split(code=np.arange(view.level.num_codes, dtype=np.int32)))


def _most_frequent(counts: np.ndarray, most: int) -> list[list[int]]:
    """Return [class, count] of the most frequent classes, of the counts of all."""
    order = np.argsort(-counts, kind="stable")[:most]
    return [[int(row), int(counts[row])] for row in order if counts[row]]


def _completions(prior: PriorSamples, split: Split, count: int) -> dict[str, Any]:
    """Return images of a split, what is kept of them, and their completions, with codes by the suffixes of views.

    They are under "completions"; nothing if no image has a label that the prior needs.
    """
    labeled = np.flatnonzero(split.arrays["label"] != NO_LABEL) if prior.task.conditional else np.arange(len(split))
    if not len(labeled):
        return {}
    rows = labeled[spread(len(labeled), min(count, _COMPLETED))]
    shown = split[rows].arrays
    codes, images = prior.complete(shown["image"], shown["label"])
    completions = {
        "rows": rows.tolist(),
        "labels": shown["label"].tolist() if prior.task.conditional else None,
        "codes": prior.task.layout.maps(prior.task.layout.flatten(codes)),
        "originals": sheet(shown["image"]),
        "kept": sheet(np.where(prior.keep[..., None], shown["image"], 255)),
        "images": sheet(functions.to_uint8(images)),
    }
    return {"completions": completions}


def _samples(prior: PriorSamples, count: int) -> dict[str, Any]:
    """Return samples by class, with their codes by the suffixes of views."""
    task = prior.task
    labels = np.sort(np.arange(count) % len(task.class_names)) if task.conditional else np.zeros(count, np.int64)
    codes, images = prior.sample(labels)
    return {
        "labels": labels.tolist() if task.conditional else None,
        "codes": task.layout.maps(task.layout.flatten(codes)),
        "images": sheet(functions.to_uint8(images)),
    }
