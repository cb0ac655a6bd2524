"""Distributions of 8-bit pixels around a mean image, with one scale per channel fitted after training."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


def _log_normal_cdf(x: jax.Array) -> jax.Array:
    return jax.scipy.stats.norm.logcdf(x)


def _log_laplace_cdf(x: jax.Array) -> jax.Array:
    return jnp.where(x < 0, jnp.log(0.5) + x, jnp.log1p(-0.5 * jnp.exp(-jnp.abs(x))))


# name -> the logarithm of the distribution function at unit scale; each is symmetric about 0.
DISTRIBUTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"gaussian": _log_normal_cdf, "laplace": _log_laplace_cdf}
# name -> |error| to what its mean is the scale to the power of: sigma^2 = mean error^2, b = mean |error|.
_POWERS = {"gaussian": 2, "laplace": 1}


class PixelDistribution(NamedTuple):
    """A distribution of 8-bit pixels, each for itself, given a mean image.

    The probability of a value is the difference of the distribution function at the edges of its bin, 1/255 wide; the
    outer bins are open, so that the 256 values sum to 1 whatever the mean and the scale. So -log2 of it, with the bits
    of the codes, is a proper bound on -log2 p(image), for any scale.

    Attributes:
      name: an entry of DISTRIBUTIONS.
      scale: sigma or b of each channel, pixels in [0, 1].
    """

    name: str
    scale: tuple[float, ...]

    def log_mass(self, mean: jax.Array, images: jax.Array) -> jax.Array:
        """Return ln of the probability of uint8 images (..., C) given their means (..., C) in [0, 1]."""
        log_cdf, scale = DISTRIBUTIONS[self.name], jnp.asarray(self.scale, jnp.float32)
        values = images.astype(jnp.float32)
        low = jnp.where(images == 0, -jnp.inf, ((values - 0.5) / 255 - mean) / scale)
        high = jnp.where(images == 255, jnp.inf, ((values + 0.5) / 255 - mean) / scale)
        # On the right of the mean by the other tail, where a difference of numbers near 1 would be rounded away.
        mirrored = low > 0
        low, high = jnp.where(mirrored, -high, low), jnp.where(mirrored, -low, high)
        upper, lower = log_cdf(high), log_cdf(low)
        return upper + jnp.log1p(-jnp.exp(jnp.minimum(lower - upper, -1e-7)))

    def bits_per_dim(self, mean: jax.Array, images: jax.Array) -> jax.Array:
        """Return the mean -log2 of the probability, per pixel and channel, ()."""
        return -jnp.mean(self.log_mass(mean, images)) / jnp.log(2)


def power_of_error(name: str, mean: jax.Array, images: jax.Array) -> jax.Array:
    """Return the mean over pixels of what the scale is fitted to, (C,): error^2 or |error|, pixels in [0, 1].

    Args:
      name: of the distribution.
      mean: (..., C) in [0, 1].
      images: uint8 (..., C).
    """
    error = jnp.abs(images.astype(jnp.float32) / 255 - mean) ** _POWERS[name]
    return error.reshape(-1, error.shape[-1]).mean(0)


def scale_of(name: str, power: jax.Array) -> tuple[float, ...]:
    """Return the scale of each channel by maximum likelihood, of the mean of `power_of_error` over a data set."""
    smallest = 1e-4  # a fortieth of a bin: pixels that are always right
    return tuple(max(float(value) ** (1 / _POWERS[name]), smallest) for value in power)
