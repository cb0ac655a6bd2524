"""The first stage as a task: images to codes and back."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from vqjax.codes import CodeLayout, Codes
from vqjax.config.annotations import OneOf, Weight, Width
from vqjax.config.check import build
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.networks.backbones import HEADS
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.networks.layers import DTYPES
from vqjax.networks.likelihoods import LIKELIHOODS, to_unit
from vqjax.quantizers import QUANTIZERS
from vqjax.runs import metrics
from vqjax.system.errors import InputError
from vqjax.tasks.base import Pictures
from vqjax.tasks.codecs import CODECS, Codec, Coded, named_metrics, total_loss
from vqjax.tasks.quantized import QuantizedTask

_WITHOUT_HEAD = "--config.model.class_weight=0 is an autoencoder without a head"


@dataclasses.dataclass(frozen=True)
class AutoencoderFields:
    """Fields of `config.model` that are not an entry's own."""

    code_dim: Width
    dtype: Annotated[str, OneOf(DTYPES)]
    codec: str
    encoder: str
    decoder: str
    quantizer: str
    likelihood: str
    class_weight: Weight
    head: str


class AutoencoderTask(QuantizedTask):
    """Stage 1: images to codes and back. The loss is the reconstruction's plus the quantizers'.

    Attributes:
      layout: of the codes of an image or clip; None without codes.
      stride: pixels per position of the finest grid, in each direction.
    """

    module: Codec
    layout: CodeLayout | None
    clips = True
    monitored = "mse"

    def build(self) -> None:
        """Set the codec, the likelihood and the layout of the codes, see `Task.build`."""
        settings = self.settings
        *frames, height, width, channels = self.image_shape
        tables = CODECS, ENCODERS, DECODERS, QUANTIZERS, LIKELIHOODS, HEADS
        fields: AutoencoderFields = settings.model.own(AutoencoderFields, *tables)
        self.code_dim = fields.code_dim
        self.likelihood = build(LIKELIHOODS, settings.model, "likelihood")
        features = channels * self.likelihood.parameters
        self._class_weight, dtype = fields.class_weight, DTYPES[fields.dtype]
        if fields.class_weight:
            self.require_classes(f"; {_WITHOUT_HEAD}")
        checked = build(HEADS, settings.model, "head", num_classes=len(self.class_names) or 1, dtype=dtype)
        head = checked if fields.class_weight else None
        given = {"code_dim": fields.code_dim, "features": features, "dtype": dtype, "head": head}
        self.module = build(CODECS, settings.model, "codec", **given)
        for stride in self.module.strides:
            if height % stride or width % stride:
                raise InputError(
                    f"config.model.{fields.encoder}: the stride {stride} does not divide the images of "
                    f"config.data.name={settings.data.name!r}, {height} x {width} pixels"
                )
        self.stride, self.layout = self.module.strides[-1], self.module.layout(self.image_shape)
        self.positions = tuple(math.prod(frames) * (height // s) * (width // s) for s in self.module.strides)
        self._apply_eval, self._previews = jax.jit(self.apply_eval), jax.jit(self.previews)
        suffixes = self.layout.suffixes if self.layout else [""]
        classified = ("accuracy",) * bool(head)
        used = [f"{name}{suffix}" for name in ("perplexity", "codes_used") for suffix in suffixes]
        self.headline = ("loss", "psnr", *classified, *(name for name in used if name.startswith("codes_used")))
        self.curves = ("loss", "psnr", *classified, *used)

    def read(self, dataset: Dataset, name: str) -> Split:
        """Read a split, see `Task.read`. Raises InputError if there is a head, and one of the splits has no labels."""
        if self._class_weight:
            dataset.require_labels(f"config.model.class_weight above 0 needs them; {_WITHOUT_HEAD}")
        return super().read(dataset, name)

    def inputs(self, batch: Mapping) -> jax.Array:
        """Return the encoder's input, (B, H, W, C)."""
        return self.likelihood.inputs(batch["image"])

    def loss(self, output: Coded, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss () and the metrics of a batch, means over its examples."""
        reconstruction_loss = self.likelihood.loss(output.output, batch["image"], self.facts["variance"])
        loss = reconstruction_loss + total_loss(output.quantized)
        mse = jnp.mean((self.likelihood.mean(output.output) - to_unit(batch["image"])) ** 2)
        parts = {"reconstruction_loss": reconstruction_loss, "mse": mse}
        if output.logits is not None:
            cross_entropy = optax.softmax_cross_entropy_with_integer_labels(output.logits, batch["label"]).mean()
            loss += self._class_weight * cross_entropy
            accuracy = jnp.mean(output.logits.argmax(1) == batch["label"])
            parts |= {"cross_entropy": cross_entropy, "accuracy": accuracy}
        return loss, {"loss": loss, **parts, **named_metrics(self.module.level_names, output.quantized)}

    def eval_metrics(self, variables: Mapping, output: Coded, batch: Mapping) -> dict[str, jax.Array]:
        """Return SSIM and, of a likelihood of 8-bit pixels, their bits, means over the batch."""
        figures = {"ssim": metrics.ssim(self.likelihood.mean(output.output), to_unit(batch["image"])).mean()}
        if self.likelihood.bits_per_dim:
            figures["bits_per_dim_given_codes"] = self.likelihood.bits_per_dim(output.output, batch["image"])
        if output.logits is not None and self.layout:
            figures |= self._codes_by_class(output, batch["label"])
        return figures

    def _codes_by_class(self, output: Coded, labels: jax.Array) -> dict[str, jax.Array]:
        """Return the shares (classes, K) of classes and codes among all positions, for each level and depth."""
        assert self.layout
        codes = [part.codes for part in output.quantized]
        sequences = self.layout.flatten(codes[0] if len(codes) == 1 else dict(zip(self.module.level_names, codes)))
        grids, sizes = self.layout.maps(sequences), self.layout.maps(self.layout.num_codes)
        shares = {}
        for name, grid in grids.items():
            grid = grid.reshape(len(labels), -1)
            table = jnp.zeros((len(self.class_names), int(sizes[name].flat[0])))
            shares[f"codes_by_class{name}"] = table.at[labels[:, None], grid].add(1 / grid.size)
        return shares

    def encode(self, variables: Mapping, images: jax.Array) -> Codes:
        """Return the codes, int32, of images (B, H, W, C), pixels from 0 to 255 of any dtype."""
        return self._apply("encode", variables, self.likelihood.inputs(images))

    def latents(self, variables: Mapping, images: jax.Array, level: int | None = None) -> jax.Array:
        """Return the vectors (B, h, w, D) of a level, None for the finest, of images as for `encode`, not quantized."""
        level = len(self.positions) - 1 if level is None else level
        return self._apply("latents", variables, self.likelihood.inputs(images), level=level)

    def lookup(self, variables: Mapping, codes: Codes) -> jax.Array:
        """Return what the decoder is given for codes, (..., D) float32."""
        return self._apply("lookup", variables, codes)

    def code_vectors(self, variables: Mapping) -> Any:
        """Return the vectors of the codes, (K, V); (depth, K, V) of several per position; of several levels a dict."""
        return self.module.apply(variables, method="code_vectors")

    def decode(self, variables: Mapping, codes: Codes) -> jax.Array:
        """Return the images (B, H, W, C) in [0, 1] of codes."""
        return self.likelihood.mean(self._apply("decode", variables, codes))

    def decode_vectors(self, variables: Mapping, vectors: Any) -> jax.Array:
        """Return the images (B, H, W, C) in [0, 1] of quantized vectors, as `by_level` has them."""
        return self.likelihood.mean(self._apply("decode_vectors", variables, vectors))

    def by_level(self, arrays: Sequence[Any]) -> Any:
        """Return the arrays of the levels as users see them: one by itself, several as {level's name: array}."""
        return dict(zip(self.module.level_names, arrays)) if len(arrays) > 1 else arrays[0]

    def reconstruct(self, variables: Mapping, images: jax.Array) -> jax.Array:
        """Return the reconstructions, (B, H, W, C) in [0, 1], of images as for `encode`; also without codes."""
        return self.likelihood.mean(self.apply_eval(variables, {"image": images}).output)

    def _apply(self, method: str, variables: Mapping, x: Any, **options: Any) -> Any:
        return self.module.apply(variables, x, method=method, **options)

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        """Return the commands that show codes and train a prior, where there are codes of images."""
        if not self.layout or len(self.image_shape) > 3:
            return super().next_commands(workdir)
        return (
            f"python -m vqjax explore --workdir {workdir}",
            f"python -m vqjax train --config prior --config.stage1={workdir} --workdir {workdir}_prior",
        )

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """Return a batch's images, each above its reconstruction; of clips, both side by side."""
        originals = to_unit(batch["image"])
        reconstructed = self.likelihood.mean(self._apply_eval(variables, batch).output)
        if originals.ndim > 4:
            return {"reconstructions": Pictures(jnp.concatenate([originals, reconstructed], axis=-2))}
        errors = jnp.mean((originals - reconstructed) ** 2, axis=(1, 2, 3)).tolist()
        captions = [f"{metrics.psnr(error):.1f} dB" for error in errors]
        title = "above: original, below: reconstruction, PSNR"
        pictures = {"reconstructions": Pictures(originals, captions, reconstructed, title)}
        if self.layout and (self.layout.by_name or self.layout.levels[0].depth > 1):
            line = jnp.ones((*originals.shape[:2], 1, originals.shape[3]))  # white, between two pictures
            parts = [part for preview in self._previews(variables, batch["image"]) for part in (line, preview)]
            side_by_side = jnp.concatenate([originals, *parts], axis=-2)
            pictures["previews"] = Pictures(side_by_side, title="original, then decoded from ever more of its codes")
        return pictures

    def previews(self, variables: Mapping, images: jax.Array) -> list[jax.Array]:
        """Return the images (B, H, W, C) in [0, 1] of the first codes of images, see `CodeLayout.previews`."""
        assert self.layout
        return [self.decode(variables, codes) for codes in self.layout.previews(self.encode(variables, images))]
