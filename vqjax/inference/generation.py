"""Images drawn from a trained prior: samples as pictures and arrays."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import jax
import numpy as np

from vqjax import tasks
from vqjax.config.annotations import Positive, Seed
from vqjax.config.check import check_value
from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.networks.priors.sampling import ANCESTRAL, Sampling
from vqjax.runs import devices, plots
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.files import atomic_write
from vqjax.system.paths import absolute_path
from vqjax.tasks.prior import PriorTask

_SHOWN = 400  # samples in the picture; the arrays have all
_CHUNK = 10_000  # training images that are compared with the samples at a time


def sample(
    workdir: str,
    num: int,
    classes: str | None,
    seed: int,
    batch: int,
    neighbours: bool,
    stage1: str | None,
    step: int | None,
    out: str | None,
    data_dir: str | None = None,
    data_path: str | None = None,
    **sampling: Any,
) -> tuple[Path, Path]:
    """Draws `num` images of a trained prior and writes them; the arguments are the command's.

    Returns:
      The paths of the PNG and of the .npz with `images` (N, H, W, C) uint8, `codes` (N, h, w), `classes` (N,) if the
      prior has any and, if they are asked for, `neighbours` (N, H, W, C) uint8.

    Raises:
      InputError: an argument is wrong, or the workdir holds no usable prior. Nothing is written then.
    """
    for name, value, hint in (("num", num, Positive), ("batch", batch, Positive), ("seed", seed, Seed)):
        check_value(value, hint, f"--{name}")
    devices.set_cpu_device_count()
    prior, variables = load_prior(workdir, stage1, step)
    picture = absolute_path(out, "--out") if out else Workdir(workdir).path / "samples.png"
    beside = picture.with_suffix(".npz")
    _check_writable(picture, beside)
    checked = check_sampling(sampling, prior.stage1.num_codes, "--")
    chosen = class_numbers(classes.split(",") if classes else None, prior, "--classes")
    labels = np.resize(np.asarray(chosen, np.int32), num)
    training = None
    if neighbours:
        config = datasets.with_data_paths(prior.config, data_dir, data_path)
        datasets.check_same_dataset(config, prior.facts)
        training = datasets.load_splits(config, ("train",))["train"].arrays["image"]
    codes, images = generate(prior, variables, labels, seed, batch, checked)
    arrays: dict[str, Any] = {"images": images, "codes": codes}
    captions = None
    if prior.conditional:
        arrays["classes"], captions = labels, [prior.class_names[label] for label in labels]
    if training is not None:
        arrays["neighbours"] = training[nearest_images(images, training)]
    with atomic_write(beside) as temporary:
        np.savez_compressed(temporary, **arrays)
    below = arrays["neighbours"][:_SHOWN] / 255 if neighbours else None
    title = "above: sample, below: the nearest training image" if neighbours else ""
    plots.save_grid(picture, images[:_SHOWN] / 255, captions, below, title, period=len(chosen))
    return picture, beside


def _check_writable(picture: Path, beside: Path) -> None:
    """Raises InputError unless both files can be written."""
    if picture.suffix != ".png" or not picture.parent.is_dir():
        raise InputError(f"--out={picture}: expected a path that ends in .png, in a directory that exists")
    if picture.is_dir() or beside.is_dir() or not os.access(picture.parent, os.W_OK):
        raise InputError(f"--out={picture}: expected files that can be written, {picture.name} and {beside.name}")


def load_prior(path: str, stage1: str | None = None, step: int | None = None) -> tuple[PriorTask, dict[str, Any]]:
    """A trained prior and the variables of a checkpoint of it.

    Raises InputError if the workdir holds no prior, no such checkpoint, or its stage 1 is gone or another one.
    """
    workdir = Workdir(path)
    if (name := workdir.config().get("task")) != "prior":
        raise InputError(f"--workdir={path} holds a run of task {name!r}, expected 'prior'")
    prior = tasks.load_task(workdir, stage1)
    assert isinstance(prior, PriorTask)
    return prior, workdir.restore_variables(prior.abstract_variables, step)[1]


def class_numbers(classes: Iterable[Any] | None, prior: PriorTask, key: str) -> list[int]:
    """The numbers of classes, each a name or a number, or of all; the one of an unconditional prior is not looked at.

    Raises InputError, naming the `key`, for a class that does not exist.
    """
    names = list(prior.class_names)
    if not prior.conditional:
        if classes is not None:
            raise InputError(f"{key}={','.join(map(str, classes))}: this prior was trained without classes")
        return [0]
    if classes is None:
        return list(range(len(names)))
    known = {str(number): number for number in range(len(names))}
    chosen = []
    for each in classes:
        word = str(each).strip()
        number = names.index(word) if isinstance(each, str) and word in names else known.get(word)
        if number is None:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            raise InputError(
                f"{key}: {word!r} is unknown.{did_you_mean(word, names)}\n"
                f"Known: {shown}, or numbers from 0 to {len(names) - 1}"
            )
        chosen.append(number)
    return chosen


def check_sampling(sampling: dict[str, Any], num_codes: int, prefix: str = "") -> Sampling:
    """The arguments of those names, checked. Raises InputError, in which they have the prefix."""
    hints = get_type_hints(Sampling, include_extras=True)
    checked = Sampling(**{name: check_value(value, hints[name], prefix + name) for name, value in sampling.items()})
    if checked.top_k > num_codes:
        raise InputError(f"{prefix}top_k={checked.top_k}: expected at most the {num_codes} codes of stage 1")
    return checked


@dataclasses.dataclass(frozen=True)
class SampleBatch:
    """What draws a batch, for `devices.Mapper`: two that are equal are compiled once."""

    prior: PriorTask
    sampling: Sampling = ANCESTRAL

    def __call__(self, fixed: Mapping[str, Any], rows: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Codes (B, h, w) and images (B, H, W, C) in [0, 1].

        Args:
          fixed: the variables of the "prior" and of "stage1".
          rows: `label`, `example`, and `seed`, the same in every row, (B,) each.
        """
        codes = self.prior.sample(fixed["prior"], rows, rows["seed"][0], self.sampling)
        with jax.default_matmul_precision("highest"):  # the same images on every device
            return codes, self.prior.stage1.decode(fixed["stage1"], codes)


def sample_rows(labels: Sequence[int] | np.ndarray, seed: int) -> Split:
    """The rows of `Draw` for samples of the labels (N,)."""
    return Split(label=np.asarray(labels, np.int32), seed=np.full(len(labels), seed, np.uint32))


def generate(
    prior: PriorTask,
    variables: dict[str, Any],
    labels: Sequence[int] | np.ndarray,
    seed: int = 0,
    batch: int = 64,
    sampling: Sampling = ANCESTRAL,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a sample of each label, on all devices.

    Args:
      prior: the task, of a trained run.
      variables: its, on the host.
      labels: (N,).
      seed: of the noise. A sample depends on it, on its place among the labels and on its label, on nothing else.
      batch: samples that are drawn at a time; the devices share them.
      sampling: what is drawn from.

    Returns:
      Codes (N, h, w) in the smallest integers that hold them, and images (N, H, W, C) uint8.
    """
    fixed, samples = {"prior": variables, "stage1": prior.stage1.variables}, sample_rows(labels, seed)
    codes, images = devices.map_split(
        SampleBatch(prior, sampling), fixed, samples, batch, prior.config.parallel, "samples"
    )
    return codes.astype(prior.stage1.code_dtype), np.round(255 * images).astype(np.uint8)


def nearest_images(images: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each image (N, H, W, C) the row of the image (M, H, W, C) that is nearest in squared pixel distance, (N,)."""
    x = images.reshape(len(images), -1).astype(np.float32)
    best, rows = np.full(len(x), np.inf, np.float32), np.zeros(len(x), np.int64)
    for start in range(0, len(among), _CHUNK):
        y = np.asarray(among[start : start + _CHUNK]).reshape(-1, x.shape[1]).astype(np.float32)
        distances = (y**2).sum(1) - 2 * x @ y.T  # less |x|^2
        closer = distances.min(1) < best
        rows[closer] = start + distances.argmin(1)[closer]
        best = np.minimum(best, distances.min(1))
    return rows
