"""A trained autoencoder, frozen, found by its workdir alone: images to codes and back."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax import codes, data, parallel
from vqjax.autoencoder import Autoencoder
from vqjax.checkpoint import Checkpoints, Workdir
from vqjax.config import InputError
from vqjax.data import Split

_BATCH = 256  # images that are encoded at a time


class Stage1:
    """The chosen checkpoint of a finished run of the task `autoencoder`.

    Attributes:
      path: of the workdir.
      config: of the run.
      facts: its run.json.
      grid: (h, w) of the codes of an image.
      num_codes: K.
      code_dtype: the smallest unsigned integer that holds a code.
      kept: the directory of the codes that are made once.
    """

    def __init__(self, path: str | Path, key: str = "config.stage1"):
        """Finds the run.

        Args:
          path: of its workdir.
          key: what the user called that, for messages.

        Raises:
          InputError: no run, one of another task, or one without a checkpoint or with steps still to do.
        """
        workdir = Workdir(path)
        self.path, where = workdir.path, f"{key}={path}"
        if not path or not workdir.exists:
            found = "no config.json in it" if path and workdir.path.is_dir() else "no such directory"
            raise InputError(
                f"{where}: expected the workdir of a trained autoencoder, found {found}\n"
                "Train one first, for example: python train.py --config configs/digits.py"
            )
        self.config, self.facts = workdir.config(), workdir.facts()
        if self.config.get("task") != "autoencoder":
            raise InputError(f"{where} holds a run of task {self.config.get('task')!r}, expected 'autoencoder'")
        latest = None
        if (self.path / "checkpoints").is_dir():
            with Checkpoints(workdir) as checkpoints:
                latest, self._chosen = checkpoints.latest, checkpoints.chosen
        if latest is None:
            raise InputError(f"{where}: expected a trained autoencoder, found no checkpoint in it")
        if latest < self.config.steps:
            raise InputError(
                f"{where} has {latest:,} of its {self.config.steps:,} steps: finish it first, or make it shorter "
                f"with --config.steps={latest}"
            )
        try:
            self._workdir, self._task = workdir, Autoencoder(self.config, self.facts)
        except InputError as error:
            raise InputError(f"{where} cannot be built: {error}") from error
        self.grid, self.num_codes = self._task.grid, self._task.module.quantizer.num_codes
        self.code_dtype, self.kept = np.min_scalar_type(self.num_codes - 1), self.path / "codes"

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """{"params", collection, ...}, on the host."""
        with Checkpoints(self._workdir) as checkpoints:
            return checkpoints.restore_variables(self._chosen)[1]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the variables and the model's config, hexadecimal."""
        digest = hashlib.sha256(json.dumps(self.config.model.to_dict(), sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_flatten_with_path(self.variables)[0]:
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()

    def encode(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """uint8 images (B, H, W, C) -> codes (B, h, w) int32."""
        return self._task.module.apply(variables, self._task.likelihood.inputs(images), method="encode")

    def decode(self, variables: Mapping, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> images (B, H, W, C) in [0, 1]."""
        return self._task.likelihood.mean(self._task.module.apply(variables, codes, method="decode"))

    def read(self, config: ConfigDict, name: str) -> Split:
        """The `codes` and `label` of "train" or "test", whole: made once, then kept in the workdir under `codes/`.

        Args:
          config: says where the data is and how it is laid over devices.
          name: of the split.

        Raises:
          InputError: the data cannot be read, or the kept codes are damaged.
        """
        directory, fingerprint = self.kept, self.fingerprint
        try:
            split = codes.read(directory, fingerprint, name)
        except InputError as error:
            raise InputError(f"{error}\nDelete {directory}, and the codes are made again") from error
        if split is None:
            images = data.read(config, name)
            split = Split(codes=self._encode_all(images, config, name), label=images.arrays["label"])
            try:
                codes.write(directory, self.description, name, split)
            except OSError as error:  # a stage 1 that others own can still be read
                print(f"codes are not kept in {directory}: {error.strerror}")
        return split

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

    def _encode_all(self, images: Split, config: ConfigDict, name: str) -> np.ndarray:
        encode = lambda variables, batch: self.encode(variables, batch["image"])  # noqa: E731
        found = parallel.map_split(encode, self.variables, images, _BATCH, config.parallel, f"codes of {name}")
        return found.astype(self.code_dtype)
