"""The first stage as a task: images to codes and back."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vqjax import data, metrics, models
from vqjax.config import InputError, OneOf, Positive, build, own_fields
from vqjax.data import Pictures, Split
from vqjax.likelihoods import LIKELIHOODS, unit
from vqjax.networks import DECODERS, DTYPES, ENCODERS
from vqjax.quantizers import QUANTIZERS
from vqjax.through import ThroughQuantizer


@dataclasses.dataclass(frozen=True)
class AutoencoderFields:
    """The fields of `config.model` that are not an entry's own."""

    code_dim: Positive
    dtype: Annotated[str, OneOf(DTYPES)]
    encoder: str
    decoder: str
    quantizer: str
    likelihood: str


class Autoencoder(ThroughQuantizer):
    """Stage 1: images to codes and back. The objective is the reconstruction's loss plus the quantizer's.

    Attributes:
      module: the Flax module.
      grid: (h, w) of the codes of an image.
      monitor: of figures, the number by which the best checkpoint is chosen; lower is better.
      headline: the figures of the progress bar.
      curves: the figures that are plotted against the step.
    """

    monitor = staticmethod(operator.itemgetter("mse"))
    headline = ("loss", "psnr", "codes_used")
    curves = ("loss", "psnr", "perplexity", "codes_used")

    def __init__(self, config: ConfigDict, facts: Mapping[str, Any] | None = None):
        """Builds the model; without the facts of a run only to be looked at.

        Raises InputError for any field of `config.model` that is wrong, or a size that the stride does not divide.
        """
        shape, variance = data.describe(config).shape, facts["variance"] if facts else 1.0
        tables = ENCODERS, DECODERS, QUANTIZERS, LIKELIHOODS
        fields = own_fields(AutoencoderFields, config.model, "config.model", *tables)
        code_dim, dtype = fields.code_dim, DTYPES[fields.dtype]
        self.likelihood = build(LIKELIHOODS, config, "model.likelihood", variance=variance)
        encoder = build(ENCODERS, config, "model.encoder", features=code_dim, dtype=dtype)
        channels = shape[-1] * self.likelihood.parameters
        decoder = build(DECODERS, config, "model.decoder", features=channels, dtype=dtype)
        quantizer = build(QUANTIZERS, config, "model.quantizer", code_dim=code_dim)
        if encoder.stride != decoder.stride:
            raise InputError(f"config.model.encoder has stride {encoder.stride}, the decoder {decoder.stride}")
        if shape[0] % encoder.stride or shape[1] % encoder.stride:
            raise InputError(
                f"config.model.{config.model.encoder}: the stride {encoder.stride} does not divide the images of "
                f"config.data.name={config.data.name!r}, {shape[0]} x {shape[1]} pixels"
            )
        self.grid = (shape[0] // encoder.stride, shape[1] // encoder.stride)
        quantizer.check(f"config.model.{config.model.quantizer}")
        self.bind(config, models.Autoencoder(encoder, quantizer, decoder), shape)
        self._evaluate = jax.jit(self.evaluate)

    def facts(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """What run.json says of the data, and the second stage and a reader need to know."""
        return {**data.facts(self._config), "variance": splits["train"].variance()}

    @property
    def traits(self) -> dict[str, Any]:
        """What an ablation's table says of this run."""
        quantizer, dataset = self._config.model.quantizer, self._config.data.name
        return {"dataset": dataset, "stages": "autoencoder", "quantizer": quantizer, "codes": "grid"}

    def inputs(self, batch: Mapping) -> jax.Array:
        """What the encoder sees, (B, H, W, C)."""
        return self.likelihood.inputs(batch["image"])

    def objective(self, output: models.Autoencoded, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss () and the metrics of a batch, means over its examples."""
        reconstruction_loss = self.likelihood.loss(output.output, batch["image"])
        loss = reconstruction_loss + output.quantized.loss
        mse = jnp.mean((self.likelihood.mean(output.output) - unit(batch["image"])) ** 2)
        parts = {"loss": loss, "reconstruction_loss": reconstruction_loss, "mse": mse}
        return loss, {**parts, **output.quantized.metrics}

    def assess(self, output: models.Autoencoded, batch: Mapping) -> dict[str, jax.Array]:
        """The metrics that only an evaluation computes, means over the batch."""
        figures = {"ssim": metrics.ssim(self.likelihood.mean(output.output), unit(batch["image"])).mean()}
        if self.likelihood.bits_per_dim:
            figures["bits_per_dim"] = self.likelihood.bits_per_dim(output.output, batch["image"])
        return figures

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """A batch's images, and what comes of them."""
        output = self._evaluate(variables, batch).output
        found = {"originals": unit(batch["image"]), "reconstructions": self.likelihood.mean(output)}
        return {name: Pictures(images) for name, images in found.items()}
