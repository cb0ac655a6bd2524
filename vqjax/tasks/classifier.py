"""Classification as tasks: end to end through a quantizer, and on what a frozen stage 1 makes of the images."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from vqjax.config.annotations import OneOf, Rate
from vqjax.config.check import build, section_fields
from vqjax.config.schema import SecondStage
from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.networks.backbones import BACKBONES, HEADS
from vqjax.networks.layers import DTYPES
from vqjax.networks.likelihoods import to_signed, to_unit
from vqjax.quantizers import QUANTIZERS, Identity, Quantizer
from vqjax.system.errors import InputError
from vqjax.tasks import models
from vqjax.tasks.base import NAMES, Pictures
from vqjax.tasks.quantized import QuantizedTask
from vqjax.tasks.stage1 import Stage1

# What a classifier on a frozen stage 1 sees of uint8 images (B, H, W, C), by stage 1 and its variables: (B, h, w, F).
INPUTS = {
    "codes": lambda stage1, variables, images: stage1.lookup(variables, stage1.encode(variables, images)),
    "latents": lambda stage1, variables, images: stage1.latents(variables, images),
    "pixels": lambda stage1, variables, images: to_signed(images),
}


@dataclasses.dataclass(frozen=True)
class ClassifierFields:
    """The fields of `config.model` that are not an entry's own."""

    dtype: Annotated[str, OneOf(DTYPES)]
    backbone: str
    quantizer: str
    quantize: Annotated[str, OneOf(models.POOLING)]
    head: str
    label_smoothing: Rate


@dataclasses.dataclass(frozen=True)
class CodeClassifierFields:
    """The fields of `config.model` that are not an entry's own."""

    dtype: Annotated[str, OneOf(DTYPES)]
    inputs: Annotated[str, OneOf(INPUTS)]
    head: str
    label_smoothing: Rate


class ClassifierTask(QuantizedTask):
    """Images to labels, end to end through a quantizer, by cross-entropy plus the quantizer's loss."""

    module: models.Classifier
    headline = ("loss", "accuracy", "codes_used")
    curves: tuple[str, ...] = ("loss", "accuracy", "top5", "cross_entropy", "perplexity", "codes_used")

    def __init__(self, config: ConfigDict, facts: Mapping[str, Any], stage1: Stage1 | None = None):
        super().__init__(config, facts)
        fields = section_fields(ClassifierFields, config.model, "config.model", BACKBONES, QUANTIZERS, HEADS)
        shape, dtype = self.image_shape, DTYPES[fields.dtype]
        backbone = build(BACKBONES, config, "model.backbone", dtype=dtype)
        if (reason := backbone.size_error(*shape[:2])) is not None:
            raise InputError(
                f"config.model.{fields.backbone}: {reason} the images of config.data.name={config.data.name!r}, "
                f"{shape[0]} x {shape[1]} pixels"
            )
        quantizer = build(QUANTIZERS, config, "model.quantizer", code_dim=backbone.features)
        quantizer.check(f"config.model.{fields.quantizer}")
        codes = fields.quantize if quantizer.num_codes else "none"
        self._traits = {"stages": "end to end", "quantizer": fields.quantizer, "codes": codes}
        self._build(fields, backbone, quantizer, fields.quantize)
        if fields.quantize == "pooled" and fields.head != "pooled":
            raise InputError(
                f"config.model.head={fields.head!r}: config.model.quantize='pooled' leaves it one position; "
                "expected pooled, or config.model.quantize='grid'"
            )

    def load(self, names: Sequence[str] = NAMES) -> dict[str, Split]:
        """The splits, see `Task.load`. Raises InputError if one has no labels."""
        datasets.open_dataset(self.config).require_labels()
        return super().load(names)

    def _build(
        self, fields: "ClassifierFields | CodeClassifierFields", backbone: Any, quantizer: Quantizer, quantize: str
    ) -> None:
        """What both tasks have: the head, the module, and what follows from the fields."""
        config, count = self.config, len(self.class_names)
        if not count:
            raise InputError(f"config.data.name={config.data.name!r} has no labels: there is nothing to classify")
        head = build(HEADS, config, "model.head", num_classes=count, dtype=DTYPES[fields.dtype])
        self.curves = tuple(name for name in self.curves if name != "top5" or count > 5)  # of 5 classes it is 1
        self.module = models.Classifier(backbone, quantizer, head, quantize)
        self.positions = 1 if quantize == "pooled" else math.prod(self.input_shape[:2])
        self._fields = fields
        self._predict = jax.jit(self.probabilities)

    @property
    def table_columns(self) -> dict[str, Any]:
        return {**super().table_columns, **self._traits, "inputs": "pixels", "head": self._fields.head}

    def monitor(self, figures: Mapping[str, float]) -> float:
        return -figures["accuracy"]

    def inputs(self, batch: Mapping) -> jax.Array:
        """What the module is applied to: pixels on [-1, 1], (B, H, W, C)."""
        return to_signed(batch["image"])

    def loss(self, output: models.Classified, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss () and the metrics of a batch, means over its examples; only the loss has its labels smoothed."""
        logits, labels = output.logits, batch["label"]
        smoothed = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), self._fields.label_smoothing)
        loss = optax.softmax_cross_entropy(logits, smoothed).mean() + output.quantized.loss
        _, best = jax.lax.top_k(logits, min(5, logits.shape[-1]))
        metrics = {
            "loss": loss,
            "cross_entropy": optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(),
            "accuracy": jnp.mean(best[:, 0] == labels),
            "top5": jnp.mean(jnp.any(best == labels[:, None], axis=1)),
        }
        return loss, {**metrics, **output.quantized.metrics}

    def eval_metrics(self, output: models.Classified, batch: Mapping) -> dict[str, jax.Array]:
        """The metrics that only an evaluation computes: confusion (C, C), shares of true and predicted classes."""
        true, predicted = (
            jax.nn.one_hot(classes, len(self.class_names)) for classes in (batch["label"], output.logits.argmax(1))
        )
        return {"confusion": jnp.einsum("bt,bp->tp", true, predicted) / len(true)}

    def probabilities(self, variables: Mapping, frozen: Mapping, batch: dict[str, jax.Array]) -> jax.Array:
        """A batch as it is on disk -> the probabilities of the classes, (B, classes)."""
        return jax.nn.softmax(self.apply_eval(variables, self.prepare(batch, None, frozen)).logits)

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """What the classifier sees of a batch, with the predicted classes, and the true one where that is another."""
        predicted = np.asarray(self._predict(variables, self.frozen, batch).argmax(1))
        names = self.class_names
        captions = [names[p] if p == t else f"{names[p]}, not {names[t]}" for p, t in zip(predicted, batch["label"])]
        wrong, title = predicted != np.asarray(batch["label"]), "predicted classes; those that are wrong in red"
        return {"predictions": Pictures(self._visible(batch), captions, title=title, wrong=wrong)}

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        return (f"python -m vqjax predict --workdir {workdir} IMAGE …",)

    def _visible(self, batch: Mapping) -> jax.Array:
        """Images in [0, 1], (B, H, W, C)."""
        return to_unit(batch["image"])


class CodeClassifierTask(ClassifierTask):
    """Labels from what a frozen stage 1 makes of the images: code vectors, or for comparison its latents or the pixels.

    Only the head is trained.
    """

    stage1: Stage1
    fields = SecondStage

    def __init__(self, config: ConfigDict, facts: Mapping[str, Any], stage1: Stage1):
        QuantizedTask.__init__(self, config, facts, stage1)
        fields = section_fields(CodeClassifierFields, config.model, "config.model", HEADS)
        self._inputs = fields.inputs
        self._build(fields, models.Features(), Identity(self.input_shape[-1]), "grid")

    @property
    def frozen(self) -> Mapping[str, Any]:
        """Stage 1's variables, unless the inputs are pixels."""
        return {} if self._inputs == "pixels" else self.stage1.variables

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(h, w, F) of the features."""
        return self.image_shape if self._inputs == "pixels" else (*self.stage1.grid, self.stage1.code_dim)

    def read(self, config: ConfigDict, name: str) -> Split:
        """The `label` of "train" or "test", with `codes` where stage 1 has made them once, else `image`."""
        kept = self._inputs == "codes" and name not in super().prepares  # those that are not augmented
        return self.stage1.read(config, name) if kept else datasets.read_split(config, name)

    @property
    def table_columns(self) -> dict[str, Any]:
        inputs = self._inputs
        codes = {} if inputs == "codes" else {"quantizer": "none", "codes": "none"}
        return {
            **self.stage1.table_columns,
            "stages": "two stages",
            **codes,
            "inputs": inputs,
            "head": self._fields.head,
        }

    @property
    def prepares(self) -> tuple[str, ...]:
        """All, to features."""
        return "train", "evaluation"

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """A batch with `features` (B, h, w, F) in place of its images or codes; with a key, of augmented images."""
        rest = {name: value for name, value in batch.items() if name not in ("image", "codes")}
        if "codes" in batch:
            return {**rest, "features": self.stage1.lookup(frozen, batch["codes"].astype(jnp.int32))}
        images = super().prepare(batch, key, frozen)["image"]
        return {**rest, "features": INPUTS[self._inputs](self.stage1, frozen, images)}

    def inputs(self, batch: Mapping) -> jax.Array:
        """What the module is applied to: features (B, h, w, F)."""
        return batch["features"]

    def baselines(self, name: str, split: Split) -> dict[str, np.ndarray]:
        """How often stage 1 uses each code in a split, where the inputs are codes: code_frequency (K,)."""
        if "codes" not in split.arrays:
            return {}
        codes = split.arrays["codes"]
        return {"code_frequency": np.bincount(codes.reshape(-1), minlength=self.stage1.num_codes) / codes.size}

    def _visible(self, batch: Mapping) -> jax.Array:
        """Images in [0, 1], (B, H, W, C): of codes, what stage 1 decodes."""
        if "codes" not in batch:
            return super()._visible(batch)
        return self.stage1.decode(self.frozen, batch["codes"].astype(np.int32))
