"""Reconstruction losses as distributions of an image given the decoder's output.

A likelihood has three maps: `inputs` (uint8 images to what the encoder sees), `loss` (the weighted
negative log-likelihood up to a constant) and `mean` (the mean image, pixels in [0, 1]); `parameters`
is how many numbers the decoder gives per pixel and channel.
"""

import dataclasses

import jax
import jax.numpy as jnp

from vqjax.config import PositiveFloat


def unit(images: jax.Array) -> jax.Array:
    """uint8 images -> float32 pixels in [0, 1]."""
    return images.astype(jnp.float32) / 255


@dataclasses.dataclass(frozen=True)
class MSE:
    """A Gaussian whose variance is the data's: the loss is weight * MSE / variance, pixels in [0, 1].

    Images enter as x = 2 p - 1 in [-1, 1], and the decoder answers on that scale. VQ-VAE-Images
    divides the error on [-1, 1] by the variance of pixels in [0, 1], which is weight 4 here;
    deep-vector-quantization uses weight 1/2.

    Attributes:
      variance: of the training pixels in [0, 1].
      weight: of the term in the objective.
      tanh: put the decoder's output through tanh, so that it stays in [-1, 1].
    """

    variance: float
    weight: PositiveFloat
    tanh: bool

    parameters = 1

    def inputs(self, images: jax.Array) -> jax.Array:
        """(B, H, W, C) uint8 -> (B, H, W, C) float32 in [-1, 1]."""
        return 2 * unit(images) - 1

    def _pixels(self, output: jax.Array) -> jax.Array:
        output = output.astype(jnp.float32)
        return ((jnp.tanh(output) if self.tanh else output) + 1) / 2

    def loss(self, output: jax.Array, images: jax.Array) -> jax.Array:
        """The decoder's output and the uint8 images, both (B, H, W, C) -> ()."""
        return self.weight * jnp.mean((self._pixels(output) - unit(images)) ** 2) / self.variance

    def mean(self, output: jax.Array) -> jax.Array:
        """The decoder's output (B, H, W, C) -> the mean image, clipped to [0, 1]."""
        return jnp.clip(self._pixels(output), 0, 1)


LIKELIHOODS = {"mse": MSE}
