"""The classifier put together from a backbone, a quantizer and a head."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.networks.layers import BatchNorm
from vqjax.ops.keys import fold_in
from vqjax.quantizers.base import Quantized, Quantizer


class Classified(NamedTuple):
    """Output of the classifier for x.

    Attributes:
      logits: (B, classes) float32.
      vectors: of the one level, the features (B, h, w, F) before the quantizer; h and w are 1 where an image has one
        code.
      quantized: of the one level, see Quantized.
    """

    logits: jax.Array
    vectors: tuple[jax.Array]
    quantized: tuple[Quantized]


class Features(nn.Module):
    """The backbone of a classifier whose inputs are features already."""

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return x (B, h, w, F)."""
        return x


# Where the features (B, h, w, F) are quantized: the mean over the positions, or every position.
POOLING = {
    "pooled": lambda features: features.astype(jnp.float32).mean((1, 2), keepdims=True),
    "grid": lambda features: features,
}


class Classifier(nn.Module):
    """Images to codes to labels.

    The features that are quantized are normalized over the batch, without scale or shift: so every quantizer meets
    vectors of the same size, and Gumbel's logits tell the images apart from the first step.

    Attributes:
      backbone: an entry of BACKBONES, built, or Features.
      quantizer: an entry of QUANTIZERS, built.
      head: an entry of HEADS, built.
      quantize: an entry of POOLING.
    """

    backbone: nn.Module
    quantizer: Quantizer
    head: nn.Module
    quantize: str

    def setup(self):
        self._norm = BatchNorm(jnp.float32, affine=False)

    @property
    def quantizers(self) -> tuple[Quantizer]:
        """The quantizer, as a codec's of one level."""
        return (self.quantizer,)

    def __call__(self, x: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Classified:
        """Classify x (B, H, W, C); with `train` the mutable collections follow the batch.

        Args:
          x: the backbone's input.
          train: or evaluate.
          progress: share of the run that is done, for schedules.
          keys: (B,), one per example, for dropout and quantizers that draw.
        """
        z = self.latents(x, train)
        quantized = self.quantizer(z, train, progress, keys)
        return Classified(self.head(quantized.z_q, train, fold_in(keys, 1)), (z,), (quantized,))

    def latents(self, x: jax.Array, train: bool = False, level: int = 0) -> jax.Array:
        """Return the normalized features of x (B, H, W, C) that are quantized, (B, h, w, F) float32."""
        return self._norm(POOLING[self.quantize](self.backbone(x, train)), train)

    def initialize(self, vectors: jax.Array, seed: int, level: int = 0) -> None:
        """Start the codebook from vectors (N, F), for `apply(..., mutable=True)`."""
        self.quantizer.initialize(vectors, seed)

    def after_update(self, vectors: tuple[jax.Array], gather: Callable, key: jax.Array) -> None:
        """Change the codebook after an update, for `apply(..., mutable=True)`; see `Quantizer.after_update`."""
        self.quantizer.after_update(vectors[0], gather, key)
