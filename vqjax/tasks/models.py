"""The autoencoder and the classifier, put together from networks and a quantizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.networks.layers import BatchNorm
from vqjax.quantizers.base import Quantized, Quantizer


def over_frames(network: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """What a network (N, H, W, C) -> (N, H', W', C') makes of x (..., H, W, C): (..., H', W', C')."""
    y = network(x.reshape(-1, *x.shape[-3:]))
    return y.reshape(*x.shape[:-3], *y.shape[1:])


class Autoencoded(NamedTuple):
    """What the autoencoder makes of x (B, H, W, C); of clips (B, T, H, W, C) every attribute has the T too.

    Attributes:
      output: (B, H, W, C p), the decoder's: p parameters of the likelihood per pixel and channel.
      z: (B, h, w, D), the encoder's, before the quantizer.
      quantized: see Quantized.
    """

    output: jax.Array
    z: jax.Array
    quantized: Quantized


class Autoencoder(nn.Module):
    """Images to codes and back; of clips (B, T, H, W, C), whose codes are (B, T, h, w), each frame for itself.

    Attributes:
      encoder: an entry of ENCODERS, built.
      quantizer: an entry of QUANTIZERS, built.
      decoder: an entry of DECODERS, built.
    """

    encoder: nn.Module
    quantizer: Quantizer
    decoder: nn.Module

    def __call__(self, x: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Autoencoded:
        """x (B, H, W, C) -> Autoencoded. With `train` the mutable collections follow the batch.

        Args:
          x: as the likelihood's `inputs` gives it.
          train: or evaluate.
          progress: share of the run that is done, for schedules.
          keys: (B,) PRNG keys, one per example, for quantizers that draw.
        """
        z = self.latents(x, train)
        quantized = self.quantizer(z, train, progress, keys)
        return Autoencoded(self._decode(quantized.z_q, train), z, quantized)

    def _decode(self, z_q: jax.Array, train: bool) -> jax.Array:
        return over_frames(lambda frames: self.decoder(frames, train), z_q)

    def encode(self, x: jax.Array) -> jax.Array | None:
        """(B, H, W, C) -> codes (B, h, w) int32; None without codes."""
        return self.quantizer(self.latents(x), False).codes

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> the decoder's output (B, H, W, C p)."""
        return self._decode(self.lookup(codes), False)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> their vectors (B, h, w, D), float32."""
        return self.quantizer.lookup(codes)

    def latents(self, x: jax.Array, train: bool = False) -> jax.Array:
        """(B, H, W, C) -> the encoder's vectors (B, h, w, D)."""
        return over_frames(lambda frames: self.encoder(frames, train), x)

    def initialize(self, vectors: jax.Array, seed: int) -> None:
        """The quantizer's `initialize`, for `apply(..., mutable=True)`."""
        self.quantizer.initialize(vectors, seed)

    def after_update(self, z: jax.Array, gather: Callable, key: jax.Array) -> None:
        """The quantizer's `after_update`, for `apply(..., mutable=True)`."""
        self.quantizer.after_update(z, gather, key)


class Classified(NamedTuple):
    """What the classifier makes of x.

    Attributes:
      logits: (B, classes) float32.
      z: (B, h, w, F), the features before the quantizer; h and w are 1 if each image has one code.
      quantized: see Quantized.
    """

    logits: jax.Array
    z: jax.Array
    quantized: Quantized


class Features(nn.Module):
    """The backbone of a classifier whose inputs are features already."""

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, h, w, F) -> the same."""
        return x


# Where the features (B, h, w, F) are quantized: the mean over the positions, or every position.
POOLING = {
    "pooled": lambda features: features.astype(jnp.float32).mean((1, 2), keepdims=True),
    "grid": lambda features: features,
}


class Classifier(nn.Module):
    """Images to codes to labels.

    What is quantized is normalised over the batch, without scale or shift: so every quantizer meets vectors of the
    same size, and Gumbel's logits tell the images apart from the first step.

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

    def __call__(self, x: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Classified:
        """x (B, H, W, C) -> Classified. With `train` the mutable collections follow the batch.

        Args:
          x: the backbone's input.
          train: or evaluate.
          progress: share of the run that is done, for schedules.
          keys: (B,) PRNG keys, one per example, for dropout and quantizers that draw.
        """
        z = self.latents(x, train)
        quantized = self.quantizer(z, train, progress, keys)
        head_keys = None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        return Classified(self.head(quantized.z_q, train, head_keys), z, quantized)

    def latents(self, x: jax.Array, train: bool = False) -> jax.Array:
        """(B, H, W, C) -> what is quantized, (B, h, w, F) float32."""
        return self._norm(POOLING[self.quantize](self.backbone(x, train)), train)

    def initialize(self, vectors: jax.Array, seed: int) -> None:
        """The quantizer's `initialize`, for `apply(..., mutable=True)`."""
        self.quantizer.initialize(vectors, seed)

    def after_update(self, z: jax.Array, gather: Callable, key: jax.Array) -> None:
        """The quantizer's `after_update`, for `apply(..., mutable=True)`."""
        self.quantizer.after_update(z, gather, key)
