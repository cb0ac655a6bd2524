"""The autoencoder, put together from an encoder, a quantizer and a decoder."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax

from vqjax.quantizers import Quantized


class Autoencoded(NamedTuple):
    """What the autoencoder makes of x (B, H, W, C).

    Attributes:
      output: (B, H, W, C p), the decoder's: p parameters of the likelihood per pixel and channel.
      z: (B, h, w, D), the encoder's, before the quantizer.
      quantized: see Quantized.
    """

    output: jax.Array
    z: jax.Array
    quantized: Quantized


class Autoencoder(nn.Module):
    """Images to codes and back.

    Attributes:
      encoder: an entry of ENCODERS, built.
      quantizer: an entry of QUANTIZERS, built.
      decoder: an entry of DECODERS, built.
    """

    encoder: nn.Module
    quantizer: nn.Module
    decoder: nn.Module

    def __call__(self, x: jax.Array, train: bool, progress: Any = 1.0, noise: Any = None) -> Autoencoded:
        """x (B, H, W, C) -> Autoencoded. With `train` the mutable collections follow the batch.

        Args:
          x: as the likelihood's `inputs` gives it.
          train: or evaluate.
          progress: share of the run that is done, for schedules.
          noise: (B,) keys, one per example, for quantizers that draw.
        """
        z = self.encoder(x, train)
        quantized = self.quantizer(z, train, progress, noise)
        return Autoencoded(self.decoder(quantized.z_q, train), z, quantized)

    def encode(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> codes (B, h, w) int32."""
        return self.quantizer(self.encoder(x, False), False).codes

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> the decoder's output (B, H, W, C p)."""
        return self.decoder(self.quantizer.lookup(codes), False)

    def latents(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> the encoder's vectors (B, h, w, D), as in evaluation."""
        return self.encoder(x, False)

    def initialise(self, vectors: jax.Array, seed: int) -> None:
        """The quantizer's `initialise`, for `apply(..., mutable=True)`."""
        self.quantizer.initialise(vectors, seed)

    def refresh(self, z: jax.Array, key: jax.Array) -> None:
        """The quantizer's `refresh`, for `apply(..., mutable=True)`."""
        self.quantizer.refresh(z, key)
