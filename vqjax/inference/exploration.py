"""A page on which the codes of a run can be looked at: one HTML file that needs no server and no network.

`describe` says what is on it, as JSON; explore.html, explore.css and explore.js beside this file show that.
"""

import base64
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vqjax.codes import require_single
from vqjax.config.annotations import Range
from vqjax.config.check import check_value
from vqjax.config.schema import Data
from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.inference import generation
from vqjax.runs import devices, metrics
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write
from vqjax.system.paths import absolute_path
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1

_BATCH = 64  # images at a time
_AROUND = 3  # positions in each direction that a patch shows, the code's own in the middle
_FIELD = 11  # positions in each direction of the field of one code that is decoded: its edge is not shown
_PATCHES, _PATCH_PIXELS = 8, 6_000_000  # per code at most, and pixels of all of them
_POSITIONS, _NUMBERS = 200_000, 100_000_000  # whose vectors are compared to find the patches, and numbers in these
_CLASSES, _CLASSES_IN_ALL = 12, 60_000  # that use a code, the most frequent, and together
_LIKELY, _LIKELY_IN_ALL = 5, 40_000  # codes that the prior finds most probable, at a position and together
_SHEET_BYTES, _SIDE = 400_000, 256  # of a sheet of pictures; pixels of the longer side of each
# Of a sheet, the best that fits is taken: by which factor it is smaller, and how it is written.
_QUALITIES: Sequence[tuple[int, dict[str, Any]]] = (
    (1, {"lossless": True}),
    *((1, {"quality": quality}) for quality in (90, 70, 40)),
    *((factor, {"quality": 40}) for factor in (2, 4, 8)),
)


class Explored(NamedTuple):
    """What a page is about.

    Attributes:
      stage1: whose codes.
      data: `config.data` of the run, with the places where its data lies.
      prior: of the codes, with its variables; None if there is none.
    """

    stage1: Stage1
    data: Data
    prior: tuple[PriorTask, dict[str, Any]] | None = None


def _autoencoder(workdir: str, stage1: str | None) -> Explored:
    if stage1:
        raise InputError(f"--stage1={stage1}: {workdir} holds a run of task 'autoencoder', which has none")
    found = Stage1(workdir, "--workdir")
    return Explored(found, found.settings.data)


def _prior(workdir: str, stage1: str | None) -> Explored:
    prior, variables = generation.load_prior(workdir, stage1)
    return Explored(prior.stage1, prior.settings.data, (prior, variables))


EXPLORED = {"autoencoder": _autoencoder, "prior": _prior}  # by the task of the run


def explore(
    workdir: str,
    out: str | None,
    images: int,
    split: str,
    stage1: str | None,
    data_dir: str | None = None,
    data_path: str | None = None,
) -> Path:
    """Writes the page of a trained autoencoder or prior; the arguments are the command's.

    Returns:
      Its path.

    Raises:
      InputError: an argument is wrong, or the workdir holds no run that has codes. Nothing is written then.
    """
    check_value(images, Annotated[int, Range(1, 1_000)], "--images")
    task = Workdir(workdir).config().get("task")
    if task not in EXPLORED:
        raise InputError(f"--workdir={workdir} holds a run of task {task!r}, expected {' or '.join(EXPLORED)}")
    page = absolute_path(out, "--out") if out else Workdir(workdir).path / "explore.html"
    _check_writable(page)
    explored = EXPLORED[task](workdir, stage1)
    explored = explored._replace(data=datasets.with_data_paths(explored.data, data_dir, data_path))
    shown = {"name": Workdir(workdir).path.name, **describe(explored, images, split)}
    with atomic_write(page) as temporary:
        temporary.write_text(render(shown), encoding="utf-8")
    return page


def _check_writable(page: Path) -> None:
    if page.suffix != ".html" or not page.parent.is_dir():
        raise InputError(f"--out={page}: expected a path that ends in .html, in a directory that exists")
    if page.is_dir() or not os.access(page.parent, os.W_OK):
        raise InputError(f"--out={page}: expected a file that can be written")


def render(shown: Mapping[str, Any]) -> str:
    """The page of what `describe` gives."""
    data = json.dumps(shown, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")  # no tag ends the script
    html, css, js = (
        resources.files(__package__).joinpath(f"explore.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    return html.replace("/* explore.css */", css).replace("/* explore.js */", js).replace("/* data */", data)


def describe(explored: Explored, count: int, name: str) -> dict[str, Any]:
    """What is on the page but for the run's name.

    Args:
      explored: whose codes.
      count: images of the split, and samples of the prior.
      name: of the split.

    Returns:
      What json can write. Pictures are sheets, as of `sheet`; codes and probabilities of an image are flat, in raster
      order; a code's patches follow each other in its sheet, those of code 0 first.
    """
    stage1, grid = explored.stage1, require_single(explored.stage1.layout, "--workdir").grid
    if len(grid) > 2:
        raise InputError(f"--workdir: {stage1.path} was trained on clips of {grid[0]} frames, expected images")
    dataset = datasets.open_dataset(explored.data)
    datasets.check_same_dataset(dataset, stage1.facts)
    images = datasets.load_splits(dataset, (name,))
    if not images:
        raise InputError(f"--split={name}: the run was trained with config.data.validation=0.0")
    coded = datasets.load_splits(dataset, (name,), stage1.read)[name]
    split = Split(image=images[name].arrays["image"], **coded.arrays)
    codes = _codes(stage1, split)
    frequency = np.array(codes["uses"]) / sum(codes["uses"])
    return {
        "dataset": stage1.facts["dataset"],
        "split": name,
        "count": len(split),
        "step": stage1.step,
        "grid": list(grid),
        "class_names": list(stage1.facts["class_names"]),
        "perplexity": round(metrics.perplexity(frequency), 1),
        "codes": codes,
        "images": _images(stage1, split, count),
        "samples": _samples(*explored.prior, count) if explored.prior else None,
    }


def _spread(count: int, most: int) -> np.ndarray:
    """Rows of `count`, at most so many, as far from each other as they can be: a split may be sorted by class."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _images(stage1: Stage1, split: Split, count: int) -> dict[str, Any]:
    """Images of a split beside what comes of their codes."""
    rows = _spread(len(split), count)
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
    """Codes (N, h, w) -> images (N, H, W, C) uint8, less so many pixels at each edge."""

    def decode(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # the same images on every device
            images = stage1.decode(variables, batch["codes"])
        height, width = images.shape[1:3]
        return jnp.round(255 * images[:, edge : height - edge, edge : width - edge]).astype(jnp.uint8)

    split = Split(codes=codes.astype(np.int32))
    found: np.ndarray = devices.map_split(decode, stage1.variables, split, _BATCH, stage1.settings.parallel, "images")
    return found


def _codes(stage1: Stage1, split: Split) -> dict[str, Any]:
    """What there is to say of each of the K codes."""
    count, names = stage1.layout.max_codes, stage1.facts["class_names"]
    labels = split.arrays["label"]
    if not names or (labels < 0).any():  # the set has no classes, or this split has no labels
        names, labels = [], np.zeros(len(split), np.int64)
    classes = max(1, len(names))
    codes = split.arrays["codes"].astype(np.int64)
    table = np.bincount((codes * classes + labels[:, None, None]).reshape(-1), minlength=count * classes)
    table = table.reshape(count, classes)  # how often each class has each code
    alone = np.broadcast_to(np.arange(count)[:, None, None], (count, _FIELD, _FIELD))
    edge = (_FIELD - _AROUND) // 2 * stage1.task.stride
    patches, found = typical_patches(stage1, split)
    most = min(_CLASSES, max(1, _CLASSES_IN_ALL // count))
    return {
        "colours": colours(np.asarray(stage1.lookup(stage1.variables, jnp.arange(count)))),
        "uses": table.sum(1).tolist(),
        "classes": [_most(row, most) for row in table] if names else None,
        "alone": sheet(_decode(stage1, alone, edge)),
        "patches": sheet(patches),
        "patch_counts": found.tolist(),
    }


def _most(counts: np.ndarray, most: int) -> list[list[int]]:
    """The most frequent classes and how often they are there, of the counts of all."""
    order = np.argsort(-counts, kind="stable")[:most]
    return [[int(row), int(counts[row])] for row in order if counts[row]]


def typical_patches(stage1: Stage1, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The parts of images that are typical of each code: the encoder's vectors there are nearest to the code's mean.

    The mean is that of the encoder's vectors which get the code, in whatever way the quantizer gives it.

    Args:
      split: with `image` and `codes`.

    Returns:
      Patches (P, h, w, C) uint8, code after code, each the nearest first, and how many each code has, (K,).
    """
    height, width = stage1.layout.levels[0].grid
    positions = min(_POSITIONS, _NUMBERS // stage1.code_dim)
    some = split[_spread(len(split), max(1, positions // (height * width)))]
    latents = lambda variables, batch: stage1.latents(variables, batch["image"])  # noqa: E731
    z = devices.map_split(latents, stage1.variables, some, _BATCH, stage1.settings.parallel, "patches")
    z, codes = z.reshape(-1, z.shape[-1]).astype(np.float32), some.arrays["codes"].reshape(-1)
    uses = np.bincount(codes, minlength=stage1.layout.max_codes)
    by_code = np.argsort(codes, kind="stable")
    used, starts = np.flatnonzero(uses), np.cumsum(uses) - uses
    means = np.zeros((stage1.layout.max_codes, z.shape[-1]), np.float32)
    means[used] = np.add.reduceat(z[by_code], starts[used]) / uses[used, None]
    order = np.lexsort((((z - means[codes]) ** 2).sum(-1), codes))  # by code, then by distance
    stride = stage1.task.stride
    room = _PATCH_PIXELS // (max(1, len(used)) * (_AROUND * stride) ** 2)
    found = np.minimum(uses, min(_PATCHES, max(1, room)))
    chosen = np.concatenate([order[start : start + number] for start, number in zip(starts, found)])
    return _cut(some.arrays["image"], chosen, (height, width), stride), found


def _cut(images: np.ndarray, positions: np.ndarray, grid: tuple[int, int], stride: int) -> np.ndarray:
    """The parts of images around positions, counted through all images, (P, s, s, C); the edge goes on outside."""
    margin = _AROUND // 2 * stride
    around = np.arange(_AROUND * stride) - margin
    image, row, column = np.unravel_index(positions, (len(images), *grid))
    rows = np.clip(row[:, None] * stride + around, 0, images.shape[1] - 1)
    columns = np.clip(column[:, None] * stride + around, 0, images.shape[2] - 1)
    return images[image[:, None, None], rows[:, :, None], columns[:, None, :]]


def _samples(prior: PriorTask, variables: dict[str, Any], count: int) -> dict[str, Any]:
    """Samples by class, with the probability of the code at each position given those before it."""
    labels = np.sort(np.resize(generation.class_numbers(None, prior, ""), count))
    codes, images = generation.generate(prior, variables, labels, batch=_BATCH)
    likely = min(_LIKELY, prior.layout.max_codes, _LIKELY_IN_ALL // codes.size)

    def probabilities(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> tuple[jax.Array, ...]:
        with jax.default_matmul_precision("highest"):  # as in sampling
            p = jax.nn.softmax(prior.apply_eval(variables, batch))
        return jnp.take_along_axis(p, prior.codes(batch)[..., None], -1)[..., 0], *jax.lax.top_k(p, max(1, likely))

    split = Split(codes=codes.astype(np.int32), label=labels.astype(np.int32))
    p, *found = devices.map_split(probabilities, variables, split, _BATCH, prior.settings.parallel, "probabilities")
    top, which = (array[..., :likely].reshape(count, prior.layout.length, likely) for array in found)
    return {
        "labels": labels.tolist() if prior.conditional else None,
        "codes": codes.reshape(count, -1).tolist(),
        "nats": np.round(-np.log(np.maximum(p, 1e-30)).sum(1), 1).tolist(),
        "probabilities": np.round(p.astype(float), 4).reshape(count, -1).tolist(),
        "likely": which.tolist(),
        "likely_probabilities": np.round(top.astype(float), 4).tolist(),
        "images": sheet(images),
    }


def colours(vectors: np.ndarray) -> list[str]:
    """A colour for each vector (K, D), as CSS has it: the nearer two vectors, the more alike.

    Their first three principal components, as ranks, are the lightness and the two hues of OKLab.
    """
    centred = vectors - vectors.mean(0)
    components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T
    ranks = np.full((len(vectors), 3), 0.5)
    ranks[:, : components.shape[1]] = components.argsort(0, kind="stable").argsort(0) / max(1, len(vectors) - 1)
    low, high = np.array([0.42, -0.16, -0.16]), np.array([0.88, 0.16, 0.16])
    return ["oklab({:.3f} {:.3f} {:.3f})".format(*row) for row in low + (high - low) * ranks]


def sheet(images: np.ndarray) -> dict[str, Any]:
    """Images (N, H, W, C) uint8 as one picture in a data URI, without loss if that fits.

    Returns:
      {"url", "columns", "rows", "count", "size": [H, W]}; the images are in it row by row, `columns` side by side.
    """
    count, height, width, channels = images.shape
    columns = max(1, math.ceil(math.sqrt(count * height / width)))
    rows = max(1, math.ceil(count / columns))
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    pixels = padded.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = np.broadcast_to(
        pixels.reshape(rows * height, columns * width, channels), (rows * height, columns * width, 3)
    )
    picture = Image.fromarray(pixels).reduce(math.ceil(max(height, width) / _SIDE))
    url = "data:image/webp;base64," + base64.b64encode(_webp(picture)).decode()
    return {"url": url, "columns": columns, "rows": rows, "count": count, "size": [height, width]}


def _webp(picture: Image.Image) -> bytes:
    """The picture as well as fits."""
    for factor, how in _QUALITIES:
        file = io.BytesIO()
        picture.reduce(factor).save(file, "WEBP", **how)
        if file.tell() <= _SHEET_BYTES:
            break
    return file.getvalue()
