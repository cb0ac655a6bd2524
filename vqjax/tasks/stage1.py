"""A trained autoencoder, frozen, found by its workdir alone: images to codes and back."""

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax.data import datasets
from vqjax.data.formats import npy
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.checkpoints import pins
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.autoencoder import AutoencoderTask

_PLACES = ("data_dir", "path")  # fields of `config.data` that a second stage has from its first unless it has its own
_IMAGES = ("size", "channels", "test")  # and those that it always has from it
_BATCH = 256  # images that are encoded at a time, fewer if they are large
_PIXELS = 2**20  # of those images together
# What is wrong with one that has no checkpoint of the fingerprint, and what to do about it.
_AGAIN, _NAME = "Train the second stage again, in a new workdir", "Name the run that this one was trained on"
_RETRAINED = "has been retrained since this run was trained on it", _AGAIN
_ANOTHER = "is another run than the one that this run was trained on", _NAME
_EITHER = "has been retrained since this run was trained on it, or is another run", f"{_NAME}, or else: {_AGAIN}"


class Stage1:
    """A checkpoint of a run of the task `autoencoder`: the chosen one, or the one that a second stage stands on.

    Attributes:
      path: of the workdir.
      step: of the checkpoint.
      task: the autoencoder.
      config: of the run.
      facts: its run.json.
      grid: (h, w) of the codes of an image, (T, h, w) of those of a clip.
      num_codes: K.
      code_dim: D, of a code's vector.
      code_dtype: the smallest unsigned integer that holds a code.
      kept: the directory of the codes that are made once.
    """

    facts: Mapping[str, Any]

    def __init__(self, path: str | Path, key: str = "config.stage1", facts: Mapping[str, Any] | None = None):
        """Finds the run, and the checkpoint.

        Args:
          path: of its workdir.
          key: what the user called that, for messages.
          facts: run.json of a second stage that was trained on it, if there is one. The checkpoint is then the one with
            the fingerprint in them, however far the run has been trained since; else the chosen one of a finished run.

        Raises:
          InputError: no run, one of another task, or one without a checkpoint, with steps still to do, or without
            the checkpoint of the facts.
        """
        workdir, standing = Workdir(path, key), facts is not None and "stage1" in facts
        self.path, where = workdir.path, f"{key}={path}"
        if not path or not workdir.exists:
            found = "no config.json in it" if path and workdir.path.is_dir() else "no such directory"
            raise InputError(
                f"{where}: expected the workdir of a trained autoencoder, found {found}\n"
                "Train one first, for example: python train.py --config configs/digits.py\n"
                f"or, if it is now elsewhere, name the place in {key}"
            )
        self.config, self.facts = workdir.config(), workdir.facts()
        if self.config.get("task") != "autoencoder":
            raise InputError(f"{where} holds a run of task {self.config.get('task')!r}, expected 'autoencoder'")
        steps, chosen = [], None
        if (self.path / "checkpoints").is_dir():
            with workdir.checkpoints() as checkpoints:
                steps, chosen = checkpoints.steps, checkpoints.best_or_latest
        if chosen is None:
            raise InputError(f"{where}: expected a trained autoencoder, found no checkpoint in it")
        if steps[0] < self.config.steps and not standing:
            raise InputError(
                f"{where} has {steps[0]:,} of its {self.config.steps:,} steps: finish it first, or make it shorter "
                f"with --config.steps={steps[0]}"
            )
        self._workdir, self.step = workdir, chosen
        self._describe(where)
        if facts is not None and standing:
            self._find(facts, [chosen, *steps], where)

    @classmethod
    def planned(cls, config: ConfigDict, path: str | Path) -> "Stage1":
        """The one that a run of `config` will leave at `path`, to check what depends on it: it has no variables yet."""
        stage1 = cls.__new__(cls)
        stage1.path, stage1.config = Workdir(path, "config.stage1").path, config
        stage1.facts = datasets.dataset_facts(config)
        if config.task != "autoencoder":
            raise InputError(f"config.stage1={path}: a run of task {config.task!r}, expected 'autoencoder'")
        stage1._describe(f"config.stage1={path}")
        return stage1

    def _describe(self, where: str) -> None:
        """Sets the attributes that follow from the config and the facts."""
        try:
            self.task = AutoencoderTask(self.config, self.facts)
        except InputError as error:
            raise InputError(f"{where} cannot be built: {error}") from error
        self.grid, self.num_codes = self.task.grid, self.task.module.quantizer.num_codes
        if not self.num_codes:
            quantizer = self.config.model.quantizer
            raise InputError(f"{where} has no codes: it was trained with config.model.quantizer={quantizer!r}")
        self.code_dim, self.kept = self.config.model.code_dim, self.path / "codes"
        self.code_dtype = np.min_scalar_type(self.num_codes - 1)

    def complete(self, config: ConfigDict) -> ConfigDict:
        """The config of a second stage with the data set of this one, where it lies now, and its absolute path.

        Raises InputError if the config names another data set, or the images of that have another shape by now.
        """
        config, dataset = ConfigDict(config.to_dict()), self.facts["dataset"]
        if len(self.grid) > 2:
            raise InputError(
                f"config.stage1={config.stage1} was trained on clips of {self.grid[0]} frames: a second stage "
                "expects images"
            )
        if config.data.name not in ("", dataset):
            raise InputError(
                f"config.data.name={config.data.name!r}, but config.stage1={config.stage1} was trained on {dataset!r}"
                "\nThe data of a second stage is that of the first: expected the same name, or an empty one"
            )
        own = datasets.with_data_paths(self.config).data
        config.data.name, config.stage1 = dataset, str(self.path)
        for name in _PLACES:
            config.data[name] = config.data.get(name) or own.get(name, "")
        for name in _IMAGES:
            config.data[name] = own[name]
        shape = datasets.open_dataset(config).shape
        if tuple(self.facts["image_shape"]) != shape:
            found = " x ".join(map(str, self.facts["image_shape"]))
            raise InputError(
                f"config.stage1={self.path} was trained on images of {found}, those of {dataset!r} are "
                f"{' x '.join(map(str, shape))}"
            )
        return config

    def _find(self, facts: Mapping[str, Any], steps: Sequence[int], where: str) -> None:
        """Takes the checkpoint, pinned or among the `steps`, that a second stage of these facts was trained on."""
        wanted = facts["stage1"]
        pinned = [step for found, step in pins.pinned(self._pins).items() if found == wanted and step in steps]
        for step in dict.fromkeys([*pinned, *steps]):  # the likely ones first
            variables = self._workdir.restore_variables(self.task.abstract_variables, step)[1]
            if self._fingerprint(variables) == wanted:
                self.step, self.variables, self.fingerprint = step, variables, wanted
                return
        run = facts.get("stage1_run")  # older runs lack it
        what, remedy = _RETRAINED if run == self._workdir.identity else _ANOTHER if run else _EITHER
        raise InputError(
            f"{where} {what}: none of its checkpoints, of the steps {', '.join(map(str, sorted({*steps})))}, has the "
            f"fingerprint {wanted[:12]}\n{remedy}"
        )

    def pin(self, run: Path) -> None:
        """Sees that the checkpoint is kept for the second stage in the workdir `run`, or says that it is not."""
        try:
            pins.pin(self._pins, self.step, self.fingerprint, run)
        except OSError as error:  # a stage 1 that others own can still be stood on
            print(f"step {self.step} is not pinned in {self._pins}: {error.strerror}; do not train that run on")

    @property
    def _pins(self) -> Path:
        return self.path / "pins"

    @property
    def inherited(self) -> dict[str, Any]:
        """What run.json of a second stage says of the data."""
        return {**{name: self.facts[name] for name in ("dataset", "image_shape", "class_names")}, "grid": self.grid}

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """{"params", collection, ...}, on the host."""
        return self._workdir.restore_variables(self.task.abstract_variables, self.step)[1]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the variables and the model's config, as config.json has it, hexadecimal."""
        return self._fingerprint(self.variables)

    @property
    def identity(self) -> dict[str, str]:
        """What run.json of a second stage says of what it stands on: the checkpoint's fingerprint, and the run."""
        return {"stage1": self.fingerprint, "stage1_run": self._workdir.identity}

    def _fingerprint(self, variables: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(self._workdir.raw_config()["model"], sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()

    @property
    def table_columns(self) -> dict[str, Any]:
        """What an ablation's table says of it."""
        return self.task.table_columns

    def encode(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """uint8 images (B, H, W, C) -> codes (B, h, w) int32."""
        return self.task.encode(variables, images)

    def decode(self, variables: Mapping, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> images (B, H, W, C) in [0, 1]."""
        return self.task.decode(variables, codes)

    def lookup(self, variables: Mapping, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> their vectors (B, h, w, D) float32."""
        return self.task.lookup(variables, codes)

    def latents(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """uint8 images (B, H, W, C) -> the encoder's vectors (B, h, w, D), not quantized."""
        return self.task.latents(variables, images)

    def read(self, config: ConfigDict, name: str) -> Split:
        """The `codes` and `label` of "train" or "test", whole: made once, then kept in the workdir under `codes/`.

        Those that are kept are of these images: of others they are made again. Those of a few images, by
        `config.data.limit`, are made each time.

        Args:
          config: says where the data is and how it is laid over devices.
          name: of the split.

        Raises:
          InputError: the data cannot be read, or the kept codes are damaged.
        """
        if datasets.open_dataset(config).data.limit:
            return self._encode(config, name)
        directory, data_hash = self.kept, datasets.open_dataset(config).hash(name)
        try:
            split = npy.read_codes(directory, self.fingerprint, name, data_hash)
        except InputError as error:
            raise InputError(f"{error}\nDelete {directory}, and the codes are made again") from error
        return self._encode(config, name, data_hash) if split is None else split

    def _encode(self, config: ConfigDict, name: str, data_hash: str | None = None) -> Split:
        """The codes of a split, made batch by batch, into files if there is a hash and they can be written."""
        images = datasets.read_split(config, name)
        label = images.arrays["label"]
        encode = lambda variables, batch: self.encode(variables, batch["image"])  # noqa: E731
        mapper = devices.Mapper(self.variables, config.parallel)
        make = functools.partial(mapper.parts, encode, images, self._at_a_time, f"codes of {name}")
        if data_hash:
            try:
                npy.write_codes(self.kept, self.description, name, make(), label, data_hash)
                kept = npy.read_codes(self.kept, self.fingerprint, name, data_hash)
                assert kept is not None
                return kept
            except OSError as error:  # a stage 1 that others own can still be read
                print(f"codes are not kept in {self.kept}: {error.strerror}")
        return Split(codes=np.concatenate(list(make())).astype(self.code_dtype), label=label)

    def bits_per_dim_given_codes(self, config: ConfigDict, name: str) -> float:
        """Mean -log2 of the probability of a split's 8-bit pixels given their codes, per pixel and channel.

        Of a likelihood that has `bits_per_dim`; `config` says where the data is, as for `read`.
        """

        def bits_of(variables: Mapping, batch: Mapping) -> jax.Array:
            def of_one(image: jax.Array) -> jax.Array:
                alone = {"image": image[None]}
                return self.task.eval_metrics(self.task.apply_eval(variables, alone), alone)["bits_per_dim_given_codes"]

            return jax.vmap(of_one)(batch["image"])

        images = datasets.load_splits(config, (name,))[name]
        mapper = devices.Mapper(self.variables, config.parallel)
        return float(mapper(bits_of, images, self._at_a_time, f"pixels of {name}").mean(dtype=np.float64))

    @property
    def _at_a_time(self) -> int:
        """Images that go through the networks together."""
        return min(_BATCH, max(1, _PIXELS // math.prod(self.facts["image_shape"][:-1])))

    @property
    def description(self) -> dict[str, Any]:
        """What a reader of codes needs to know of them."""
        return {
            "num_codes": self.num_codes,
            "grid": list(self.grid),
            "order": "raster: row by row, each from left to right",
            "dataset": self.facts["dataset"],
            "class_names": self.facts["class_names"],
            "fingerprint": self.fingerprint,
        }
