"""A trained autoencoder, frozen, found by its workdir alone: images to codes and back."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqjax.codes import CodeLayout, Codes
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.data.formats import npy
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.checkpoints import pins
from vqjax.runs.devices import images_at_a_time
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.kept_figures import kept_figure
from vqjax.tasks.pixels import PixelBits, needs_distribution, read_distribution

# What is wrong with one that has no checkpoint of the fingerprint, and what to do about it.
_RETRAINED = (
    "has been retrained since this run was trained on it",
    "Train the second stage again, in a new workdir",
)
_ANOTHER = "is another run than the one that this run was trained on", "Name the run that this one was trained on"


class Stage1:
    """A checkpoint of a run of the task `autoencoder`: the best or latest, or the one that a second stage stands on.

    Attributes:
      path: of the workdir.
      step: of the checkpoint.
      task: the autoencoder.
      settings: of the run.
      facts: its run.json.
      layout: of the codes.
      kept: the directory of the codes that are made once.
    """

    facts: Mapping[str, Any]
    layout: CodeLayout

    def __init__(self, path: str | Path, key: str = "config.stage1", facts: Mapping[str, Any] | None = None):
        """Find the run, and the checkpoint.

        Args:
          path: of its workdir.
          key: what the user called that, for messages.
          facts: run.json of a second stage that was trained on it, if there is one. The checkpoint is then the one with
            the fingerprint in them, however far the run has been trained since; else the best or latest of a finished
            run.

        Raises:
          InputError: no run, one of another task, or one without a checkpoint, with steps still to do, or without
            the checkpoint of the facts.
        """
        workdir, standing = Workdir(path, key), facts is not None and "stage1" in facts
        self.path, where = workdir.path, f"{key}={path}"
        _require_run(path, workdir, key)
        self._workdir, config, self.facts = workdir, workdir.raw_config(), workdir.facts()
        _require_autoencoder(config.get("task"), f"{where} holds")
        steps, best = [], None
        if (self.path / "checkpoints").is_dir():
            with workdir.checkpoints() as checkpoints:
                steps, best = checkpoints.steps, checkpoints.best_or_latest
        if best is None:
            raise InputError(f"{where}: expected a trained autoencoder, found no checkpoint in it")
        self.step = best
        with _building(where):
            task = AutoencoderTask(Settings.of(config), self.facts)
        self._use(task, where)
        if steps[0] < self.settings.steps and not standing:
            raise InputError(
                f"{where} has {steps[0]:,} of its {self.settings.steps:,} steps: finish it first, or make it shorter "
                f"with --config.steps={steps[0]}"
            )
        if facts is not None and standing:
            self._find(facts, [best, *steps], where)

    @classmethod
    def planned(
        cls, settings: Settings, path: str | Path, facts: Mapping[str, Any] | None = None, where: str = ""
    ) -> "Stage1":
        """Return a placeholder for a stage 1 that is not trained yet, to validate runs that depend on it.

        Args:
          settings: of its run.
          path: of the workdir to be.
          facts: of its data; None: they are read from the data set.
          where: what the user called it, for messages; "": config.stage1.
        """
        stage1, where = cls.__new__(cls), where or f"config.stage1={path}"
        stage1.path = Workdir(path, "config.stage1").path
        _require_autoencoder(settings.task, f"{where}:")
        stage1.facts = facts or datasets.dataset_facts(datasets.open_dataset(settings.data))
        with _building(where):
            task = AutoencoderTask(settings, stage1.facts)
        stage1._use(task, where)
        return stage1

    @classmethod
    def of_checkpoint(cls, workdir: Workdir, task: AutoencoderTask, step: int, variables: dict[str, Any]) -> "Stage1":
        """Return a checkpoint that is loaded already, of a run that may have steps to do. InputError without codes."""
        stage1 = cls.__new__(cls)
        stage1.path, stage1.facts, stage1._workdir = workdir.path, task.facts, workdir
        stage1.step, stage1.variables = step, variables
        stage1._use(task, f"--workdir={workdir.path}")
        return stage1

    def _use(self, task: AutoencoderTask, where: str) -> None:
        """Set the attributes that follow from the task. Raises InputError if it has no codes."""
        self.task, self.settings = task, task.settings
        if task.layout is None:
            quantizer = task.settings.model.values["quantizer"]
            raise InputError(f"{where} has no codes: it was trained with config.model.quantizer={quantizer!r}")
        self.layout, self.kept = task.layout, self.path / "codes"

    def _find(self, facts: Mapping[str, Any], steps: Sequence[int], where: str) -> None:
        """Take the checkpoint, pinned or among the `steps`, that a second stage of these facts was trained on."""
        wanted = facts["stage1"]
        pinned = [step for pinned, step in pins.pinned(self._pins).items() if pinned == wanted and step in steps]
        for step in dict.fromkeys([*pinned, *steps]):  # the likely ones first
            variables = self._workdir.restore_variables(self.task.abstract_variables, step)[1]
            if self._workdir.fingerprint(variables) == wanted:
                self.step, self.variables, self.fingerprint = step, variables, wanted
                return
        reason, remedy = _RETRAINED if facts["stage1_run"] == self._workdir.identity else _ANOTHER
        raise InputError(
            f"{where} {reason}: none of its checkpoints, of the steps {', '.join(map(str, sorted({*steps})))}, has the "
            f"fingerprint {wanted[:12]}\n{remedy}"
        )

    def pin(self, run: Path) -> None:
        """Have the checkpoint kept for the second stage in the workdir `run`, or say that it is not."""
        try:
            pins.pin(self._pins, self.step, self.fingerprint, run)
        except OSError as error:  # a stage 1 that others own can still be stood on
            print(f"step {self.step} is not pinned in {self._pins}: {error.strerror}; do not train that run on")

    @property
    def _pins(self) -> Path:
        return self.path / "pins"

    @property
    def inherited(self) -> dict[str, Any]:
        """Facts of the data that run.json of a second stage has from this run."""
        return {name: self.facts[name] for name in ("dataset", "image_shape", "class_names")}

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """{"params", collection, ...}, on the host."""
        return self._workdir.restore_variables(self.task.abstract_variables, self.step)[1]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the variables and the model's config, as config.json has it, hexadecimal."""
        return self._workdir.fingerprint(self.variables)

    @property
    def identity(self) -> dict[str, str]:
        """Facts of what a second stage stands on: the checkpoint's fingerprint, and the run."""
        return {"stage1": self.fingerprint, "stage1_run": self._workdir.identity}

    def encode(self, variables: Mapping, images: jax.Array) -> Codes:
        """Return the codes, int32, of uint8 images (B, H, W, C)."""
        return self.task.encode(variables, images)

    def decode(self, variables: Mapping, codes: Codes) -> jax.Array:
        """Return the images (B, H, W, C) in [0, 1] of codes."""
        return self.task.decode(variables, codes)

    def lookup(self, variables: Mapping, codes: Codes) -> jax.Array:
        """Return what the decoder is given for codes, (B, h, w, D) float32."""
        return self.task.lookup(variables, codes)

    def latents(self, variables: Mapping, images: jax.Array, level: int | None = None) -> jax.Array:
        """Return a level's vectors (B, h, w, D), not quantized, of uint8 images (B, H, W, C); None: the finest."""
        return self.task.latents(variables, images, level)

    @property
    def code_dim(self) -> int:
        """Channels of `latents`."""
        return self.task.code_dim

    @property
    def vector_dim(self) -> int:
        """Channels of `lookup`, where there is one level."""
        return self.task.module.quantizers[-1].vector_dim

    def read(self, dataset: Dataset, name: str) -> Split:
        """Read the codes and `label` of "train" or "test", whole: made once, then kept in the workdir under `codes/`.

        Those that are kept are of these images: of others they are made again. Those of a few images, by
        `config.data.limit`, are made each time.

        Args:
          dataset: has the images.
          name: of the split.

        Raises:
          InputError: the data cannot be read, or the kept codes are damaged.
        """
        if dataset.data.limit:
            return self._encode(dataset, name)
        data_hash = dataset.hash(name)
        try:
            kept = npy.read_codes(self.kept, self.fingerprint, name, data_hash)
        except InputError as error:
            raise InputError(f"{error}\nDelete {self.kept}, and the codes are made again") from error
        return self._encode(dataset, name, data_hash) if kept is None else kept[0]

    def _encode(self, dataset: Dataset, name: str, data_hash: str | None = None) -> Split:
        """Codes of a split, made batch by batch, into files if there is a hash and they can be written."""
        images = datasets.read_split(dataset, name)
        label = images.arrays["label"]
        encode = lambda variables, batch: self.layout.split(self.encode(variables, batch["image"]))  # noqa: E731
        mapper = devices.Mapper(self.variables, self.settings.parallel)
        make = functools.partial(
            mapper.parts, encode, images, images_at_a_time(self.task.image_shape), f"codes of {name}"
        )
        if data_hash:
            try:
                npy.write_codes(self.kept, self.description, name, make(), label, data_hash)
                kept = npy.read_codes(self.kept, self.fingerprint, name, data_hash)
                assert kept is not None
                return kept[0]
            except OSError as error:  # a stage 1 that others own can still be read
                print(f"codes are not kept in {self.kept}: {error.strerror}")
        arrays = jax.tree.map(lambda *parts: np.concatenate(parts), *make())
        smallest = {array: arrays[array].astype(level.dtype) for array, level in self.layout.names.items()}
        return Split(**smallest, label=label)

    def bits_per_dim_given_codes(self, dataset: Dataset, name: str) -> float | None:
        """Mean -log2 of the probability of a split's 8-bit pixels given their codes, per pixel and channel.

        None if that needs a distribution which was not fitted, see `vqjax.tasks.pixels`. The data set has the images,
        as for `read`; they are only read the first time.
        """
        distribution = read_distribution(self.path, self.step)
        if needs_distribution(self.task) and not distribution:
            return None

        def measure() -> float:
            images = datasets.load_splits(dataset, (name,))[name]
            return PixelBits(self.task, self.variables).measure(images, distribution)

        if dataset.data.limit:
            return measure()
        sizes = datasets.split_sizes(dataset)
        of = [self.fingerprint, dataset.hash("test" if name == "test" else "train"), sizes[name], repr(distribution)]
        return kept_figure(self.path / "bits_given_codes.json", name, of, measure)

    @property
    def description(self) -> dict[str, Any]:
        """Description of the codes for their readers."""
        return {
            "layout": self.layout,
            "order": "raster: row by row, each from left to right",
            "dataset": self.facts["dataset"],
            "class_names": self.facts["class_names"],
            "fingerprint": self.fingerprint,
        }


def _require_autoencoder(task: Any, where: str) -> None:
    """Raise InputError, which begins with `where`, for a run of another task."""
    if task != "autoencoder":
        raise InputError(f"{where} a run of task {task!r}, expected 'autoencoder'")


@contextlib.contextmanager
def _building(where: str) -> Iterator[None]:
    """Say, in an InputError about its config, which stage 1 it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where} cannot be built: {error}") from error


def _require_run(path: str | Path, workdir: Workdir, key: str) -> None:
    """Raise InputError unless a run lives in the workdir."""
    if path and workdir.exists:
        return
    place = "no config.json in it" if path and workdir.path.is_dir() else "no such directory"
    raise InputError(
        f"{key}={path}: expected the workdir of a trained autoencoder, found {place}\n"
        "Train one first, for example: python train.py --config configs/digits.py\n"
        f"or, if it is now elsewhere, name the place in {key}"
    )
