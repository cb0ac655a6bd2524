"""The contract of codecs: from images to codes and back."""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.codes import CodeLayout, Codes, Level
from vqjax.config.check import Section
from vqjax.ops.keys import fold_in
from vqjax.quantizers.base import Quantized, Quantizer


def over_frames(network: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Apply a network (N, H, W, C) -> (N, H', W', C') to x (..., H, W, C): (..., H', W', C')."""
    y = network(x.reshape(-1, *x.shape[-3:]))
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def innermost_quantizer(model: Mapping[str, Any], name: str) -> str:
    """Return the quantizer that one is made of in the end, such as "ema" for residual; itself if it is made of none.

    Args:
      model: values of `config.model`.
      name: of the quantizer.
    """
    while isinstance(fields := model.get(name), Mapping) and fields.get("quantizer", name) != name:
        name = fields["quantizer"]
    return name


class Coded(NamedTuple):
    """Output of a codec for x (B, H, W, C); of clips (B, T, H, W, C) every array has the T too.

    Attributes:
      output: (B, H, W, C p), the decoder's: p parameters of the likelihood per pixel and channel.
      vectors: for each level the vectors (B, h, w, D) that its quantizer was given.
      quantized: for each level, coarse to fine.
      logits: (B, classes) of the head; None without one.
    """

    output: jax.Array
    vectors: tuple[jax.Array, ...]
    quantized: tuple[Quantized, ...]
    logits: jax.Array | None = None


class Codec(nn.Module):
    """The contract of codecs: images to codes and back.

    Clips (B, T, H, W, C), whose codes are (B, T, h, w), go through frame by frame. A codec is made by `from_section`,
    called as `codec(x, train, progress, keys) -> Coded`, and writes the methods below. It has a field `head`, which
    classifies what the decoder is given, or is None.
    """

    if TYPE_CHECKING:

        @property
        def head(self) -> nn.Module | None:
            """An entry of HEADS, built."""

    @classmethod
    def from_section(
        cls, section: Section, choice: str, code_dim: int, features: int, dtype: Any, head: Any
    ) -> "Codec":
        """Make the codec of a config's model.

        Args:
          section: `config.model`.
          choice: name of the codec's own section in it.
          code_dim: D.
          features: channels of the decoder's output.
          dtype: of the networks' computation.
          head: an entry of HEADS, built; or None.

        Raises:
          InputError: a field is wrong.
        """
        raise NotImplementedError

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of the levels, coarse to fine; ("codes",) where there is one."""
        return ("codes",)

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        """Quantizer of each level."""
        raise NotImplementedError

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per position of each level's grid, in each direction."""
        raise NotImplementedError

    def classify(self, given: jax.Array, train: bool, keys: jax.Array | None) -> jax.Array | None:
        """Return the logits (B, classes) of what the decoder is given, (B, h, w, F); None without a head."""
        if self.head is None:
            return None
        logits: jax.Array = self.head(given, train, fold_in(keys, len(self.quantizers)))
        return logits

    def latents(self, x: jax.Array, train: bool = False, level: int = 0) -> jax.Array:
        """Return the vectors (B, h, w, D) that a level's quantizer is given for images (B, H, W, C)."""
        raise NotImplementedError

    def encode(self, x: jax.Array) -> Codes | None:
        """Return the codes of images (B, H, W, C), int32; None without codes."""
        raise NotImplementedError

    def lookup(self, codes: Codes) -> jax.Array:
        """Return what the decoder is given for codes, float32."""
        raise NotImplementedError

    def decode(self, codes: Codes) -> jax.Array:
        """Return the decoder's output (B, H, W, C p) for codes."""
        raise NotImplementedError

    def decode_vectors(self, vectors: Any) -> jax.Array:
        """Return the decoder's output (B, H, W, C p) for quantized vectors, of several levels {name: vectors}."""
        raise NotImplementedError

    def code_vectors(self) -> Any:
        """Return the vectors of each level's codes, see `Quantizer.code_vectors`; of several levels {name: vectors}."""
        vectors = [quantizer.code_vectors() for quantizer in self.quantizers]
        return dict(zip(self.level_names, vectors)) if len(vectors) > 1 else vectors[0]

    def layout(self, image_shape: tuple[int, ...]) -> CodeLayout | None:
        """Layout of the codes of an image (H, W, C) or a clip (T, H, W, C), whose sides the strides divide."""
        *frames, height, width, _ = image_shape
        if not all(quantizer.num_codes for quantizer in self.quantizers):
            return None
        parts = zip(self.level_names, self.quantizers, self.strides)
        grids = [(*frames, height // stride, width // stride) for stride in self.strides]
        return CodeLayout(
            tuple(
                Level(name, grid, quantizer.num_codes, quantizer.depth)
                for (name, quantizer, _), grid in zip(parts, grids)
            )
        )

    def initialize(self, vectors: jax.Array, seed: int, level: int = 0) -> None:
        """Start a level's codebook from vectors (N, D), for `apply(..., mutable=True)`."""
        self.quantizers[level].initialize(vectors, seed)

    def after_update(self, vectors: tuple[jax.Array, ...], gather: Callable, key: jax.Array) -> None:
        """Change the codebooks after an update, for `apply(..., mutable=True)`; see `Quantizer.after_update`."""
        for level, quantizer in enumerate(self.quantizers):
            own = jax.random.fold_in(key, level) if level else key
            quantizer.after_update(vectors[level], gather, own)


def total_loss(quantized: tuple[Quantized, ...]) -> jax.Array:
    """Sum of the levels' losses, ()."""
    return functools.reduce(jnp.add, [level.loss for level in quantized])


def named_metrics(names: tuple[str, ...], quantized: tuple[Quantized, ...]) -> dict[str, jax.Array]:
    """Metrics of the levels; of several, with the level's name behind: "commitment_loss_top"."""
    if len(quantized) == 1:
        return dict(quantized[0].metrics)
    return {f"{metric}_{name}": x for name, level in zip(names, quantized) for metric, x in level.metrics.items()}
