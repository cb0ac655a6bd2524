"""Reconstruction losses as distributions of an image given the decoder's output.

A likelihood has three maps. `inputs` makes the encoder's input of uint8 images. `loss` is the weighted negative
log-likelihood, up to a constant, given the variance of the training pixels in [0, 1], which some do not use. `mean` is
the mean image, pixels in [0, 1]. `parameters` is the number of outputs of the decoder per pixel and channel. A
likelihood that is a distribution over the 256 gray levels also has `bits_per_dim`; in others that is None.
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from vqjax.config.annotations import OneOf, PositiveWeight, Range


def to_unit(images: jax.Array) -> jax.Array:
    """Convert uint8 images to float32 pixels in [0, 1]."""
    return images.astype(jnp.float32) / 255


def to_signed(images: jax.Array) -> jax.Array:
    """Convert uint8 images to float32 pixels in [-1, 1], the input of networks."""
    return 2 * to_unit(images) - 1


@dataclasses.dataclass(frozen=True)
class _Pointwise:
    """A distance between the decoder's output and the image, both on [-1, 1].

    Attributes:
      weight: factor of the term in the objective.
      tanh: put the decoder's output through tanh, so that it stays in [-1, 1].
    """

    weight: PositiveWeight
    tanh: bool

    parameters = 1
    bits_per_dim = None

    def inputs(self, images: jax.Array) -> jax.Array:
        """Make the encoder's input: (B, H, W, C) uint8 -> (B, H, W, C) float32 in [-1, 1]."""
        return to_signed(images)

    def _pixels(self, output: jax.Array) -> jax.Array:
        output = output.astype(jnp.float32)
        return ((jnp.tanh(output) if self.tanh else output) + 1) / 2

    def mean(self, output: jax.Array) -> jax.Array:
        """Mean image, clipped to [0, 1]: the decoder's output (B, H, W, C) -> (B, H, W, C)."""
        return jnp.clip(self._pixels(output), 0, 1)


class MSE(_Pointwise):
    """A Gaussian whose variance is the data's: the loss is weight * MSE / variance, pixels in [0, 1].

    VQ-VAE-Images divides the error on [-1, 1] by the variance of pixels in [0, 1], which is weight 4 here;
    deep-vector-quantization uses weight 1/2. The fields are `_Pointwise`'s.
    """

    def loss(self, output: jax.Array, images: jax.Array, variance: float) -> jax.Array:
        """Weighted mean squared error over the variance: output and uint8 images, both (B, H, W, C) -> ()."""
        return self.weight * jnp.mean((self._pixels(output) - to_unit(images)) ** 2) / variance


class L1(_Pointwise):
    """A Laplace distribution as wide as the data: weight * mean |error| / standard deviation, pixels in [0, 1].

    The fields are `_Pointwise`'s.
    """

    def loss(self, output: jax.Array, images: jax.Array, variance: float) -> jax.Array:
        """Weighted mean absolute error over the deviation: output and uint8 images, both (B, H, W, C) -> ()."""
        return self.weight * jnp.mean(jnp.abs(self._pixels(output) - to_unit(images))) / variance**0.5


@dataclasses.dataclass(frozen=True)
class LogitLaplace:
    """A Laplace distribution of the logit of x = (1 - 2 eps) p + eps (Ramesh et al. 2021, appendix A.3).

    f(x | mu, b) = exp(-|logit x - mu| / b) / (2 b x (1 - x)). The decoder gives mu of all channels, then ln b of all
    channels. The loss is weight times the mean of -ln f, in nats per pixel and channel of the density of x.

    Attributes:
      weight: factor of the term in the objective.
      epsilon: keeps x away from 0 and 1, where f is not finite.
      input_range: what the encoder sees: "signed", pixels on [-1, 1], which trains much faster; or "mapped", x, as
        DALL-E's does. They differ in more than scale and center at the image's edges, where convolutions see zeros.
    """

    weight: PositiveWeight
    epsilon: Annotated[float, Range(1e-6, 0.49)]
    input_range: Annotated[str, OneOf(("signed", "mapped"))] = "signed"

    parameters = 2

    def squeeze(self, pixels: jax.Array) -> jax.Array:
        """Map pixels in [0, 1] to x in [epsilon, 1 - epsilon]."""
        return (1 - 2 * self.epsilon) * pixels + self.epsilon

    def inputs(self, images: jax.Array) -> jax.Array:
        """Make the encoder's input: (B, H, W, C) uint8 -> (B, H, W, C) float32 in [-1, 1], or x."""
        return self.squeeze(to_unit(images)) if self.input_range == "mapped" else to_signed(images)

    def _location_and_scale(self, output: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Split the decoder's output (..., 2 C) into mu and ln b, (..., C) each."""
        mu, log_b = jnp.split(output.astype(jnp.float32), 2, axis=-1)
        return mu, log_b

    def log_density(self, output: jax.Array, x: jax.Array) -> jax.Array:
        """Log-density ln f of x in (0, 1), (..., C), given the decoder's output (..., 2 C)."""
        mu, log_b = self._location_and_scale(output)
        distance = jnp.abs(jax.scipy.special.logit(x) - mu)
        return -distance * jnp.exp(-log_b) - log_b - jnp.log(2 * x * (1 - x))

    def loss(self, output: jax.Array, images: jax.Array, variance: float) -> jax.Array:
        """Weighted mean of -ln f: the decoder's output (B, H, W, 2 C), uint8 images (B, H, W, C) -> ()."""
        return -self.weight * jnp.mean(self.log_density(output, self.squeeze(to_unit(images))))

    def mean(self, output: jax.Array) -> jax.Array:
        """Image at mu, clipped to [0, 1]: the decoder's output (B, H, W, 2 C) -> (B, H, W, C).

        A pixel is (sigmoid(mu) - eps) / (1 - 2 eps).
        """
        mu, _ = self._location_and_scale(output)
        return jnp.clip((jax.nn.sigmoid(mu) - self.epsilon) / (1 - 2 * self.epsilon), 0, 1)

    def log_mass(self, output: jax.Array, images: jax.Array) -> jax.Array:
        """Log-probability of each uint8 value, (..., C), given the decoder's output (..., 2 C).

        The probability is the difference of the distribution function at the edges of the value's bin. The first and
        the last bin are open.
        """
        mu, log_b = self._location_and_scale(output)
        levels = images.astype(jnp.float32)

        def standardize(level):  # -> distance of the edge below `level` from mu, in units of b
            return (jax.scipy.special.logit(self.squeeze((level - 0.5) / 255)) - mu) * jnp.exp(-log_b)

        low = jnp.where(images == 0, -jnp.inf, standardize(levels))
        high = jnp.where(images == 255, jnp.inf, standardize(levels + 1))
        # A bin on one side of mu has the mass exp(-near) (1 - exp(-width)) / 2; one across mu has 1 less the two tails.
        near = jnp.where(high <= 0, -high, low)
        one_side = jnp.log(0.5) - near + jnp.log1p(-jnp.exp(low - high))
        across = jnp.log1p(-0.5 * jnp.exp(jnp.minimum(low, 0)) - 0.5 * jnp.exp(-jnp.maximum(high, 0)))
        return jnp.where((high <= 0) | (low >= 0), one_side, across)

    def bits_per_dim(self, output: jax.Array, images: jax.Array) -> jax.Array:
        """Mean of -log2 of the probability of an 8-bit value, per pixel and channel; the shapes are those of `loss`."""
        return -jnp.mean(self.log_mass(output, images)) / jnp.log(2)


LIKELIHOODS = {"mse": MSE, "l1": L1, "logit_laplace": LogitLaplace}
