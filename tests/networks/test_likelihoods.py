import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from configs import autoencoder
from vqjax.config.check import Section, build
from vqjax.networks.likelihoods import L1, LIKELIHOODS, MSE, LogitLaplace


def test_mse_is_weighted_over_the_variance():
    likelihood = MSE(weight=4.0, tanh=False)
    images = jnp.array([[[[0], [255]], [[51], [102]]]], jnp.uint8)  # pixels 0, 1, 0.2, 0.4
    np.testing.assert_allclose(likelihood.inputs(images).reshape(-1), [-1, 1, -0.6, -0.2], atol=1e-6)
    output = jnp.zeros((1, 2, 2, 1))  # pixels 0.5
    expected = 4 * (0.25 + 0.25 + 0.09 + 0.01) / 4 / 0.05
    np.testing.assert_allclose(likelihood.loss(output, images, 0.05), expected, rtol=1e-6)


def test_mse_is_the_references_unit():
    """4 MSE / variance on [0, 1] is VQ-VAE-Images' MSE on [-1, 1] over the variance on [0, 1]."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    output = rng.normal(size=images.shape)
    expected = np.mean((output - (2 * (images / 255) - 1)) ** 2) / 0.0627
    np.testing.assert_allclose(MSE(4.0, False).loss(jnp.float32(output), images, 0.0627), expected, rtol=1e-5)


def test_mean_image_is_clipped_and_tanh_keeps_it_inside():
    output = jnp.array([-3.0, 0.0, 0.5, 3.0]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(MSE(1.0, False).mean(output).reshape(-1), [0, 0.5, 0.75, 1])
    expected = (np.tanh([-3.0, 0.0, 0.5, 3.0]) + 1) / 2
    np.testing.assert_allclose(MSE(1.0, True).mean(output).reshape(-1), expected, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_keeps_the_contract(name):
    """Gray levels enter in order; the mean image is inside [0, 1]; the loss is finite and has a gradient."""
    config = autoencoder.get_config()
    config.model.likelihood = name
    likelihood = build(LIKELIHOODS, Section.of(config, "config.model"), "likelihood")
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    levels = likelihood.inputs(images).reshape(-1)
    assert levels.dtype == jnp.float32 and np.all(np.diff(levels) > 0)
    output = 3 * jax.random.normal(jax.random.key(0), (1, 16, 16, likelihood.parameters))
    assert 0 <= likelihood.mean(output).min() and likelihood.mean(output).max() <= 1
    loss, gradient = jax.value_and_grad(likelihood.loss)(output, images, 0.1)
    assert np.isfinite(loss) and np.all(np.isfinite(gradient)) and np.any(gradient)


def test_l1_is_weighted_over_the_deviation():
    images = jnp.array([[[[0], [255]], [[51], [102]]]], jnp.uint8)  # pixels 0, 1, 0.2, 0.4
    loss = L1(weight=3.0, tanh=False).loss(jnp.zeros((1, 2, 2, 1)), images, 0.04)  # pixels 0.5
    np.testing.assert_allclose(loss, 3 * (0.5 + 0.5 + 0.3 + 0.1) / 4 / 0.2, rtol=1e-6)


PARAMETERS = [(0.0, 0.0), (1.5, -1.0), (-2.0, 0.5), (0.3, -3.0), (4.0, -2.0)]  # mu, ln b


@pytest.mark.parametrize("mu, log_b", PARAMETERS)
def test_logit_laplace_is_a_density(mu, log_b):
    """Its integral over (0, 1), and over a part of it, by quadrature against the distribution function."""
    likelihood = LogitLaplace(weight=1.0, epsilon=0.1)

    def density(x):
        output = jnp.array([mu, log_b], jnp.float32)
        return float(jnp.exp(likelihood.log_density(output, jnp.array([x], jnp.float32)))[0])

    def distribution(x):
        d = (np.log(x / (1 - x)) - mu) / np.exp(log_b)
        return 0.5 * np.exp(d) if d < 0 else 1 - 0.5 * np.exp(-d)

    peak = 1 / (1 + np.exp(-mu))
    points = sorted({0.1, 0.9, float(np.clip(peak, 0.1, 0.9))})
    total = sum(quad(density, a, b, epsabs=1e-5, epsrel=1e-5)[0] for a, b in zip(points, points[1:]))
    np.testing.assert_allclose(total, distribution(0.9) - distribution(0.1), atol=1e-4)


@pytest.mark.parametrize("mu, log_b", PARAMETERS)
def test_the_256_masses_sum_to_one_and_follow_the_density(mu, log_b):
    likelihood = LogitLaplace(weight=1.0, epsilon=0.1)
    levels = jnp.arange(256, dtype=jnp.uint8)[:, None]
    output = jnp.tile(jnp.array([mu, log_b], jnp.float32), (256, 1))
    log_mass = likelihood.log_mass(output, levels)[:, 0]
    assert np.all(np.isfinite(log_mass))
    np.testing.assert_allclose(np.exp(np.float64(log_mass)).sum(), 1, atol=1e-5)
    inner = slice(1, 255)
    density = likelihood.log_density(output, likelihood.squeeze(levels / 255))[:, 0] + np.log(0.8 / 255)
    if log_b > -2:  # the density is flat within a bin
        np.testing.assert_allclose(log_mass[inner], density[inner], atol=0.02)


def test_bits_per_dim_by_hand():
    """mu at 0.5, b so large that the inner bins hold next to nothing: half the mass in each outer one."""
    likelihood = LogitLaplace(weight=1.0, epsilon=0.1)
    output = jnp.tile(jnp.array([0.0, 12.0]), (1, 1, 2, 1))
    np.testing.assert_allclose(likelihood.bits_per_dim(output, jnp.array([[[[0], [255]]]], jnp.uint8)), 1, atol=1e-3)


def test_logit_laplace_gradients_are_finite_at_the_ends():
    likelihood = LogitLaplace(weight=1.0, epsilon=0.1)
    images = jnp.array([[[[0], [255]]]], jnp.uint8)
    for scale in (1.0, 10.0):
        output = scale * jax.random.normal(jax.random.key(0), (1, 1, 2, 2))
        assert np.all(np.isfinite(jax.grad(lambda o: likelihood.loss(o, images, 0.1))(output)))


def test_logit_laplace_mean_inverts_the_in_map():
    likelihood = LogitLaplace(weight=1.0, epsilon=0.1)
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    mu = jax.scipy.special.logit(likelihood.squeeze(images / 255))
    output = jnp.concatenate([mu, jnp.zeros_like(mu)], axis=-1)
    np.testing.assert_allclose(likelihood.mean(output), images / 255, atol=1e-5)


def test_the_encoder_may_see_pixels_as_dalles_does():
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    inputs = LogitLaplace(weight=1.0, epsilon=0.1, input_range="mapped").inputs(images)
    np.testing.assert_allclose(inputs.reshape(-1), 0.8 * np.arange(256) / 255 + 0.1, atol=1e-6)
