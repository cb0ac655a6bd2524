"""Classification as a task, of what a frozen stage 1 makes of the images."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import OneOf, Rate
from vqjax.data import datasets
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.networks.backbones import HEADS
from vqjax.networks.layers import DTYPES
from vqjax.networks.likelihoods import to_signed
from vqjax.quantizers import Identity
from vqjax.system.errors import InputError
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.quantized_classifier import Features
from vqjax.tasks.stage1 import Stage1

# What a classifier on a frozen stage 1 sees of uint8 images (B, H, W, C), by stage 1 and its variables: (B, h, w, F).
INPUTS = {
    "codes": lambda stage1, variables, images: stage1.lookup(variables, stage1.encode(variables, images)),
    "latents": lambda stage1, variables, images: stage1.latents(variables, images),
    "pixels": lambda stage1, variables, images: to_signed(images),
}


@dataclasses.dataclass(frozen=True)
class CodeClassifierFields:
    """Fields of `config.model` that are not an entry's own."""

    dtype: Annotated[str, OneOf(DTYPES)]
    inputs: Annotated[str, OneOf(INPUTS)]
    head: str
    label_smoothing: Rate


class CodeClassifierTask(ClassifierTask):
    """Labels from code vectors of a frozen stage 1, or for comparison from its latents or the pixels.

    Only the head is trained.
    """

    stage1: Stage1
    runs = ("stage1",)

    def build(self) -> None:
        """Set the classifier: the head alone, see `Task.build`."""
        fields: CodeClassifierFields = self.settings.model.own(CodeClassifierFields, HEADS)
        layout = self.stage1.layout
        if fields.inputs == "codes" and len(layout.levels) > 1:
            raise InputError(f"config.model.inputs='codes': expected codes on one grid, config.stage1 has {layout}")
        self._inputs = fields.inputs
        self._put_together(fields, Features(), Identity(self.input_shape[-1]), "grid")

    @property
    def frozen(self) -> Mapping[str, Any]:
        """Variables of stage 1, unless the inputs are pixels."""
        return {} if self._inputs == "pixels" else self.stage1.variables

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(h, w, F) of the features."""
        if self._inputs == "pixels":
            return self.image_shape
        channels = self.stage1.vector_dim if self._inputs == "codes" else self.stage1.code_dim
        return (*self.stage1.layout.levels[-1].grid, channels)

    def read(self, dataset: Dataset, name: str) -> Split:
        """Read the `label` of "train" or "test", with `codes` where stage 1 has made them once, else `image`."""
        kept = self._inputs == "codes" and name not in super().prepares  # those that are not augmented
        return self.stage1.read(dataset, name) if kept else datasets.read_split(dataset, name)

    @property
    def prepares(self) -> tuple[str, ...]:
        """All batches, to features."""
        return "train", "evaluation"

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """Put `features` (B, h, w, F) in place of a batch's images or codes; with a key, of augmented images."""
        rest = {name: value for name, value in batch.items() if name not in ("image", "codes")}
        if "codes" in batch:
            return {**rest, "features": self.stage1.lookup(frozen, batch["codes"].astype(jnp.int32))}
        images = super().prepare(batch, key, frozen)["image"]
        return {**rest, "features": INPUTS[self._inputs](self.stage1, frozen, images)}

    def inputs(self, batch: Mapping) -> jax.Array:
        """Return the features (B, h, w, F)."""
        return batch["features"]

    def split_metrics(self, dataset: Dataset, name: str, split: Split) -> dict[str, np.ndarray]:
        """Return how often stage 1 uses each code in a split, where the inputs are codes: code_frequency."""
        if "codes" not in split.arrays:
            return {}
        return {"code_frequency": self.stage1.layout.levels[0].frequency(split.arrays["codes"])}

    def _visible(self, batch: Mapping) -> jax.Array:
        """Images in [0, 1], (B, H, W, C): of codes, what stage 1 decodes."""
        if "codes" not in batch:
            return super()._visible(batch)
        return self.stage1.decode(self.frozen, batch["codes"].astype(np.int32))
