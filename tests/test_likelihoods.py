import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.likelihoods import LIKELIHOODS, MSE


def test_mse_is_weighted_over_the_variance():
    likelihood = MSE(variance=0.05, weight=4.0, tanh=False)
    images = jnp.array([[[[0], [255]], [[51], [102]]]], jnp.uint8)  # pixels 0, 1, 0.2, 0.4
    np.testing.assert_allclose(likelihood.inputs(images).reshape(-1), [-1, 1, -0.6, -0.2], atol=1e-6)
    output = jnp.zeros((1, 2, 2, 1))  # pixels 0.5
    np.testing.assert_allclose(likelihood.loss(output, images), 4 * (0.25 + 0.25 + 0.09 + 0.01) / 4 / 0.05, rtol=1e-6)


def test_mse_is_the_references_unit():
    """4 MSE / variance on [0, 1] is VQ-VAE-Images' MSE on [-1, 1] over the variance on [0, 1]."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    output = rng.normal(size=images.shape)
    expected = np.mean((output - (2 * (images / 255) - 1)) ** 2) / 0.0627
    np.testing.assert_allclose(MSE(0.0627, 4.0, False).loss(jnp.float32(output), images), expected, rtol=1e-5)


def test_mean_image_is_clipped_and_tanh_keeps_it_inside():
    output = jnp.array([-3.0, 0.0, 0.5, 3.0]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(MSE(1.0, 1.0, False).mean(output).reshape(-1), [0, 0.5, 0.75, 1])
    expected = (np.tanh([-3.0, 0.0, 0.5, 3.0]) + 1) / 2
    np.testing.assert_allclose(MSE(1.0, 1.0, True).mean(output).reshape(-1), expected, atol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values())
def test_all_grey_levels_enter_in_order(likelihood):
    fields = {"variance": 0.1, "weight": 1.0, "tanh": False}
    levels = likelihood(**fields).inputs(jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)).reshape(-1)
    assert levels.dtype == jnp.float32 and np.all(np.diff(levels) > 0)
