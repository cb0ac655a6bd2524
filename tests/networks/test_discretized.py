"""Probabilities of 8-bit pixels given a mean image."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vqjax.networks.discretized import DISTRIBUTIONS, PixelDistribution, power_of_error, scale_of

REFERENCE = {"gaussian": scipy.stats.norm, "laplace": scipy.stats.laplace}
VALUES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("mean", [0.0, 0.004, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("scale", [1e-4, 0.003, 0.05, 0.8])
def test_the_values_of_a_pixel_sum_to_1_and_are_those_of_the_distribution_function(name, mean, scale):
    log_mass = PixelDistribution(name, (scale,)).log_mass(jnp.full((256, 1), mean), VALUES[:, None])[:, 0]
    assert np.all(np.isfinite(log_mass)) or scale < 0.003
    np.testing.assert_allclose(np.exp(np.asarray(log_mass, np.float64)).sum(), 1, atol=2e-5)
    cdf = REFERENCE[name](loc=mean, scale=scale).cdf
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    likely = (expected := np.diff(cdf(edges))) > 1e-6
    np.testing.assert_allclose(np.asarray(log_mass)[likely], np.log(expected[likely]), atol=2e-3)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_scale_is_that_of_maximum_likelihood(name):
    """Of errors far larger than a bin, no other scale gives fewer bits."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, 8, 8, 2), np.uint8)
    noise = rng.normal(size=images.shape) if name == "gaussian" else rng.laplace(size=images.shape)
    images = np.clip(images, 80, 176)
    mean = images / 255 + noise * np.array([0.05, 0.02])
    fitted = scale_of(name, power_of_error(name, jnp.asarray(mean), images))
    np.testing.assert_allclose(fitted, [0.05, 0.02], rtol=0.02)
    bits = [
        PixelDistribution(name, tuple(np.multiply(fitted, f))).bits_per_dim(jnp.asarray(mean), images)
        for f in (0.9, 1, 1.1)
    ]
    assert bits[1] < bits[0] and bits[1] < bits[2]
