"""The first stage as a task: images to codes and back."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vqjax.config.annotations import OneOf, Width
from vqjax.config.check import build, section_fields
from vqjax.data.splits import Split
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.networks.layers import DTYPES
from vqjax.networks.likelihoods import LIKELIHOODS, to_unit
from vqjax.quantizers import QUANTIZERS
from vqjax.runs import metrics
from vqjax.system.errors import InputError
from vqjax.tasks import models
from vqjax.tasks.base import Pictures
from vqjax.tasks.quantized import QuantizedTask


@dataclasses.dataclass(frozen=True)
class AutoencoderFields:
    """The fields of `config.model` that are not an entry's own."""

    code_dim: Width
    dtype: Annotated[str, OneOf(DTYPES)]
    encoder: str
    decoder: str
    quantizer: str
    likelihood: str


class AutoencoderTask(QuantizedTask):
    """Stage 1: images to codes and back. The objective is the reconstruction's loss plus the quantizer's.

    Attributes:
      grid: (h, w) of the codes of an image, (T, h, w) of those of a clip.
    """

    module: models.Autoencoder
    clips = True
    headline = ("loss", "psnr", "codes_used")
    curves = ("loss", "psnr", "perplexity", "codes_used")

    def __init__(self, config: ConfigDict, facts: Mapping[str, Any], stage1: Any = None):
        super().__init__(config, facts)
        *frames, height, width, channels = self.image_shape
        tables = ENCODERS, DECODERS, QUANTIZERS, LIKELIHOODS
        fields = section_fields(AutoencoderFields, config.model, "config.model", *tables)
        code_dim, dtype = fields.code_dim, DTYPES[fields.dtype]
        self.likelihood = build(LIKELIHOODS, config, "model.likelihood")
        encoder = build(ENCODERS, config, "model.encoder", features=code_dim, dtype=dtype)
        features = channels * self.likelihood.parameters
        decoder = build(DECODERS, config, "model.decoder", features=features, dtype=dtype)
        quantizer = build(QUANTIZERS, config, "model.quantizer", code_dim=code_dim)
        if encoder.stride != decoder.stride:
            raise InputError(f"config.model.encoder has stride {encoder.stride}, the decoder {decoder.stride}")
        if height % encoder.stride or width % encoder.stride:
            raise InputError(
                f"config.model.{config.model.encoder}: the stride {encoder.stride} does not divide the images of "
                f"config.data.name={config.data.name!r}, {height} x {width} pixels"
            )
        self.grid = (*frames, height // encoder.stride, width // encoder.stride)
        self.positions = math.prod(self.grid)
        quantizer.check(f"config.model.{config.model.quantizer}")
        self.module = models.Autoencoder(encoder, quantizer, decoder)
        self._evaluate = jax.jit(self.apply_eval)

    def describe(self, splits: Mapping[str, Split]) -> Mapping[str, Any]:
        """The facts with the variance of the training pixels, in [0, 1]."""
        variance = splits["train"].variance()
        if not variance:
            raise InputError(
                f"config.data.name={self.config.data.name!r}: all pixels of train are alike, there is nothing to learn"
            )
        return {**super().describe(splits), "variance": variance}

    @property
    def table_columns(self) -> dict[str, Any]:
        codes = "grid" if self.module.quantizer.num_codes else "none"
        return {**super().table_columns, "quantizer": self.config.model.quantizer, "codes": codes}

    def monitor(self, figures: Mapping[str, float]) -> float:
        return figures["mse"]

    def inputs(self, batch: Mapping) -> jax.Array:
        """What the encoder sees, (B, H, W, C)."""
        return self.likelihood.inputs(batch["image"])

    def loss(self, output: models.Autoencoded, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss () and the metrics of a batch, means over its examples."""
        reconstruction_loss = self.likelihood.loss(output.output, batch["image"], self.facts["variance"])
        loss = reconstruction_loss + output.quantized.loss
        mse = jnp.mean((self.likelihood.mean(output.output) - to_unit(batch["image"])) ** 2)
        parts = {"loss": loss, "reconstruction_loss": reconstruction_loss, "mse": mse}
        return loss, {**parts, **output.quantized.metrics}

    def eval_metrics(self, output: models.Autoencoded, batch: Mapping) -> dict[str, jax.Array]:
        """The metrics that only an evaluation computes, means over the batch."""
        figures = {"ssim": metrics.ssim(self.likelihood.mean(output.output), to_unit(batch["image"])).mean()}
        if self.likelihood.bits_per_dim:
            figures["bits_per_dim_given_codes"] = self.likelihood.bits_per_dim(output.output, batch["image"])
        return figures

    def encode(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """Images (B, H, W, C), pixels from 0 to 255 of any dtype -> codes (B, h, w) int32."""
        return self._apply("encode", variables, self.likelihood.inputs(images))

    def latents(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """Images as for `encode` -> the encoder's vectors (B, h, w, D), not quantized."""
        return self._apply("latents", variables, self.likelihood.inputs(images))

    def lookup(self, variables: Mapping, codes: jax.Array) -> jax.Array:
        """Codes (...) -> their vectors (..., D) float32."""
        return self._apply("lookup", variables, codes)

    def decode(self, variables: Mapping, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> images (B, H, W, C) in [0, 1]."""
        return self.likelihood.mean(self._apply("decode", variables, codes))

    def reconstruct(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """Images as for `encode` -> what comes of them, (B, H, W, C) in [0, 1]; also without codes."""
        return self.likelihood.mean(self.apply_eval(variables, {"image": images}).output)

    def _apply(self, method: str, variables: Mapping, x: jax.Array) -> Any:
        return self.module.apply(variables, x, method=method)

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        if not self.module.quantizer.num_codes or len(self.image_shape) > 3:
            return super().next_commands(workdir)
        return (
            f"python -m vqjax explore --workdir {workdir}",
            f"python -m vqjax train --config prior --config.stage1={workdir} --workdir {workdir}_prior",
        )

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """A batch's images, each above what comes of it; of clips, both side by side."""
        originals = to_unit(batch["image"])
        found = self.likelihood.mean(self._evaluate(variables, batch).output)
        if originals.ndim > 4:
            return {"reconstructions": Pictures(jnp.concatenate([originals, found], axis=-2))}
        errors = jnp.mean((originals - found) ** 2, axis=(1, 2, 3)).tolist()
        captions = [f"{metrics.psnr(error):.1f} dB" for error in errors]
        return {"reconstructions": Pictures(originals, captions, found, "above: original, below: reconstruction, PSNR")}
