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
from vqjax.inference.explore.sheets import colors, sheet
from vqjax.inference.explore.views import View, views_of
from vqjax.runs import devices, metrics
from vqjax.system.errors import InputError
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1

_BATCH = 64  # images at a time
_FIELD = 11  # positions in each direction, at least, of the field of one code that is decoded: its edge is not shown
_CLASSES, _CLASSES_IN_ALL = 12, 60_000  # that use a code, the most frequent, and together
_COMPLETED = 24  # images that are completed, at most
_LIKELY, _LIKELY_IN_ALL = 5, 40_000  # codes that the prior gives the highest probability, at a position and together


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
    dataset = datasets.open_dataset(source.data)
    datasets.check_same_dataset(dataset, stage1.facts)
    images = datasets.load_split(dataset, split)
    coded = datasets.load_split(dataset, split, stage1.read)
    rows = Split(image=images.arrays["image"], **coded.arrays)
    shared: dict[str, Any] = {"images": _images(stage1, rows, num)}
    if source.prior:
        shared |= {"samples": _samples(source.prior, num), "completions": _completions(source.prior, rows, num)}
    contents = {view.name: _view(stage1, view, rows, split, shared) for view in views}
    return contents[views[0].name] if len(views) == 1 else {"views": contents}


def _view(stage1: Stage1, view: View, rows: Split, split: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of a view.

    Args:
      stage1: whose codes.
      view: of them.
      rows: images of the split, and their codes.
      split: its name.
      shared: `images` and, with a prior, `samples` and `completions`, with codes by the suffixes of views.
    """
    codes = _codes(stage1, view, rows)
    frequency = np.array(codes["uses"]) / sum(codes["uses"])
    drawn = shared.get("samples")
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
        "samples": _samples_of(drawn, view) if drawn and view.suffix in drawn["codes"] else None,
        "completions": _of_view(shared.get("completions"), view),
    }


def _of_view(pictures: Mapping[str, Any] | None, view: View) -> dict[str, Any] | None:
    """Return pictures with the codes of a view, flat; None if there are none of it."""
    if not pictures or view.suffix not in pictures["codes"]:
        return None
    codes = pictures["codes"][view.suffix]
    return {**pictures, "codes": codes.reshape(len(codes), -1).tolist()}


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
    images: np.ndarray = devices.map_split(
        function, stage1.variables, split, _BATCH, stage1.settings.parallel, "images"
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


def _completions(prior: PriorSamples, split: Split, count: int) -> dict[str, Any] | None:
    """Return images of a split, what is kept of them, and their completions, with codes by the suffixes of views."""
    labeled = np.flatnonzero(split.arrays["label"] != NO_LABEL) if prior.task.conditional else np.arange(len(split))
    if not len(labeled):
        return None
    rows = labeled[spread(len(labeled), min(count, _COMPLETED))]
    shown = split[rows].arrays
    codes, images = prior.complete(shown["image"], shown["label"])
    return {
        "rows": rows.tolist(),
        "labels": shown["label"].tolist() if prior.task.conditional else None,
        "codes": prior.task.layout.maps(prior.task.layout.flatten(codes)),
        "originals": sheet(shown["image"]),
        "kept": sheet(np.where(prior.keep[..., None], shown["image"], 255)),
        "images": sheet(functions.to_uint8(images)),
    }


def _samples(prior: PriorSamples, count: int) -> dict[str, Any]:
    """Return samples by class, with the probability of each code given those before it, by the suffixes of views."""
    task, layout = prior.task, prior.task.modeled
    labels = np.sort(np.arange(count) % len(task.class_names)) if task.conditional else np.zeros(count, np.int64)
    codes, images = prior.sample(labels)
    sequences = task.layout.flatten(codes)[:, task.module.modeled]
    likely = min(_LIKELY, layout.max_codes, _LIKELY_IN_ALL // sequences.size)

    def probabilities(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> tuple[jax.Array, ...]:
        with jax.default_matmul_precision("highest"):  # as in sampling
            p = jax.nn.softmax(task.apply_eval(variables, batch))
        own = task.codes(batch)[:, task.module.modeled]
        return jnp.take_along_axis(p, own[..., None], -1)[..., 0], *jax.lax.top_k(p, max(1, likely))

    arrays = {name: array.astype(np.int32) for name, array in task.layout.split(codes).items()}
    p, top, which = devices.map_split(
        probabilities,
        prior.variables,
        Split(**arrays, label=labels.astype(np.int32)),
        _BATCH,
        task.settings.parallel,
        "probabilities",
    )
    ranked = {"likely": which, "likely_probabilities": np.round(top.astype(float), 4)}
    return {
        "labels": labels.tolist() if task.conditional else None,
        "codes": layout.maps(sequences),
        "p": layout.maps(p),
        "ranked": {name: [layout.maps(array[..., place]) for place in range(likely)] for name, array in ranked.items()},
        "images": sheet(functions.to_uint8(images)),
    }


def _samples_of(drawn: Mapping[str, Any], view: View) -> dict[str, Any]:
    """Return the samples with the codes and probabilities of a view."""
    codes, p = (drawn[name][view.suffix].reshape(len(drawn["codes"][view.suffix]), -1) for name in ("codes", "p"))

    def ranked(name: str) -> list[Any]:
        by_rank = [grids[view.suffix].reshape(codes.shape) for grids in drawn["ranked"][name]]
        stacked: list[Any] = np.stack(by_rank, axis=-1).tolist() if by_rank else [[[]] * codes.shape[1]] * len(codes)
        return stacked

    return {
        "labels": drawn["labels"],
        "codes": codes.tolist(),
        "nats": np.round(-np.log(np.maximum(p, 1e-30)).sum(1), 1).tolist(),
        "probabilities": np.round(p.astype(float), 4).tolist(),
        **{name: ranked(name) for name in ("likely", "likely_probabilities")},
        "images": drawn["images"],
    }
