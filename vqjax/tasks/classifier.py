"""Classification of images as a task, end to end through a quantizer."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqjax.config.annotations import OneOf, Rate
from vqjax.config.check import build
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.networks.backbones import BACKBONES, HEADS
from vqjax.networks.layers import DTYPES
from vqjax.networks.likelihoods import to_signed, to_unit
from vqjax.quantizers import QUANTIZERS, Quantizer
from vqjax.system.errors import InputError
from vqjax.tasks.base import Pictures
from vqjax.tasks.codecs import named_metrics, total_loss
from vqjax.tasks.quantized import QuantizedTask
from vqjax.tasks.quantized_classifier import POOLING, Classified, Classifier


@dataclasses.dataclass(frozen=True)
class ClassifierFields:
    """Fields of `config.model` that are not an entry's own."""

    dtype: Annotated[str, OneOf(DTYPES)]
    backbone: str
    quantizer: str
    quantize: Annotated[str, OneOf(POOLING)]
    head: str
    label_smoothing: Rate


class ClassifierTask(QuantizedTask):
    """Images to labels, end to end through a quantizer, by cross-entropy plus the quantizer's loss."""

    module: Classifier
    headline = ("loss", "accuracy", "codes_used")
    curves: tuple[str, ...] = ("loss", "accuracy", "top5", "cross_entropy", "perplexity", "codes_used")
    monitored = "-accuracy"

    def build(self) -> None:
        """Set the classifier: backbone, quantizer and head, see `Task.build`."""
        settings = self.settings
        fields: ClassifierFields = settings.model.own(ClassifierFields, BACKBONES, QUANTIZERS, HEADS)
        height, width = self.image_shape[:2]
        backbone = build(BACKBONES, settings.model, "backbone", dtype=DTYPES[fields.dtype])
        if (reason := backbone.size_error(height, width)) is not None:
            raise InputError(
                f"config.model.{fields.backbone}: {reason} the images of config.data.name={settings.data.name!r}, "
                f"{height} x {width} pixels"
            )
        quantizer = build(QUANTIZERS, settings.model, "quantizer", code_dim=backbone.features)
        self._put_together(fields, backbone, quantizer, fields.quantize)
        if fields.quantize == "pooled" and fields.head != "pooled":
            raise InputError(
                f"config.model.head={fields.head!r}: config.model.quantize='pooled' leaves it one position; "
                "expected pooled, or config.model.quantize='grid'"
            )

    def useless(self, count: int) -> Iterator[str]:
        """Yield also that there is one class only, see `Task.useless`."""
        yield from super().useless(count)
        if len(self.class_names) == 1:
            name = self.settings.data.name
            yield f"config.data.name={name!r} has one class only, {self.class_names[0]}: there is nothing to classify"

    def read(self, dataset: Dataset, name: str) -> Split:
        """Read a split, see `Task.read`. Raises InputError if one of the set's splits has no labels."""
        dataset.require_labels()
        return super().read(dataset, name)

    def _put_together(self, fields: Any, backbone: Any, quantizer: Quantizer, quantize: str) -> None:
        """Build the head and the module, and set what follows from the fields."""
        self.require_classes()
        count = len(self.class_names)
        head = build(HEADS, self.settings.model, "head", num_classes=count, dtype=DTYPES[fields.dtype])
        self.curves = tuple(name for name in self.curves if name != "top5" or count > 5)  # of 5 classes it is 1
        self.module = Classifier(backbone, quantizer, head, quantize)
        self.positions = (1 if quantize == "pooled" else math.prod(self.input_shape[:2]),)
        self._label_smoothing = fields.label_smoothing
        self._predict = jax.jit(self.probabilities)

    def inputs(self, batch: Mapping) -> jax.Array:
        """Return pixels on [-1, 1], (B, H, W, C)."""
        return to_signed(batch["image"])

    def loss(self, output: Classified, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss () and the metrics of a batch, means over its examples; only the loss has smoothed labels."""
        logits, labels = output.logits, batch["label"]
        smoothed = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), self._label_smoothing)
        loss = optax.softmax_cross_entropy(logits, smoothed).mean() + total_loss(output.quantized)
        _, best = jax.lax.top_k(logits, min(5, logits.shape[-1]))
        metrics = {
            "loss": loss,
            "cross_entropy": optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(),
            "accuracy": jnp.mean(best[:, 0] == labels),
            "top5": jnp.mean(jnp.any(best == labels[:, None], axis=1)),
        }
        return loss, {**metrics, **named_metrics(("codes",), output.quantized)}

    def eval_metrics(self, variables: Mapping, output: Classified, batch: Mapping) -> dict[str, jax.Array]:
        """Return the confusion matrix (C, C), shares of true and predicted classes."""
        true, predicted = (
            jax.nn.one_hot(classes, len(self.class_names)) for classes in (batch["label"], output.logits.argmax(1))
        )
        return {"confusion": jnp.einsum("bt,bp->tp", true, predicted) / len(true)}

    def probabilities(self, variables: Mapping, frozen: Mapping, batch: dict[str, jax.Array]) -> jax.Array:
        """Return the probabilities of the classes, (B, classes), for a batch as it is on disk."""
        return self.classify(variables, frozen, batch)[1]

    def classify(self, variables: Mapping, frozen: Mapping, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Return the features (B, F) and the probabilities (B, classes) for a batch as it is on disk.

        The features are the normalized output of the backbone before the quantizer, the mean over its positions.
        """
        output = self.apply_eval(variables, self.prepare(batch, None, frozen))
        return output.vectors[0].mean((1, 2)), jax.nn.softmax(output.logits)

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """Return a batch's images with the predicted classes, and the true one where that is another."""
        predicted = np.asarray(self._predict(variables, self.frozen, batch).argmax(1))
        names = self.class_names
        captions = [names[p] if p == t else f"{names[p]}, not {names[t]}" for p, t in zip(predicted, batch["label"])]
        wrong, title = predicted != np.asarray(batch["label"]), "predicted classes; those that are wrong in red"
        return {"predictions": Pictures(self._visible(batch), captions, title=title, wrong=wrong)}

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        """Return the command that classifies image files."""
        return (f"python -m vqjax predict --workdir {workdir} IMAGE …",)

    def _visible(self, batch: Mapping) -> jax.Array:
        """Images in [0, 1], (B, H, W, C)."""
        return to_unit(batch["image"])
