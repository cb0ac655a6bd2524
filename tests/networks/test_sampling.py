import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.networks.priors.sampling import ANCESTRAL, Sampling, noise, truncate

P = np.array([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])


@pytest.mark.parametrize(
    "sampling, expected",
    [
        (Sampling(), P),
        (Sampling(temperature=0.5), P**2 / (P**2).sum(1, keepdims=True)),
        (Sampling(top_k=1), [[1, 0, 0, 0], [0, 0, 0, 1]]),
        (Sampling(top_k=2), [[0.625, 0.375, 0, 0], [0, 0, 3 / 7, 4 / 7]]),
        (Sampling(top_k=4), P),
        (Sampling(top_p=0.01), [[1, 0, 0, 0], [0, 0, 0, 1]]),
        (Sampling(top_p=0.6), [[0.625, 0.375, 0, 0], [0, 0, 3 / 7, 4 / 7]]),
        (Sampling(top_p=0.9), [[0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], [0, 2 / 9, 3 / 9, 4 / 9]]),
        (Sampling(top_k=3, top_p=0.7), [[0.625, 0.375, 0, 0], [0, 0, 3 / 7, 4 / 7]]),  # of the three that are left
        (Sampling(temperature=0.5, top_p=0.69), [[25 / 34, 9 / 34, 0, 0], [0, 0, 9 / 25, 16 / 25]]),
    ],
)
def test_truncate_by_hand(sampling, expected):
    """Shifted logits, as a network gives them."""
    truncated = truncate(jnp.log(P) + jnp.array([[3.0], [-1.0]]), sampling)
    np.testing.assert_allclose(jax.nn.softmax(truncated), expected, atol=1e-6)


def test_of_equal_codes_the_first_are_kept():
    logits = jnp.array([[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    for sampling in (Sampling(top_k=2), Sampling(top_p=0.4)):
        kept = jnp.isfinite(truncate(logits, sampling))
        np.testing.assert_array_equal(kept, [[False, True, True, False], [True, True, False, False]])


def test_the_lowest_temperature_is_greedy():
    logits = jnp.array([[1.0, 1.001, -40.0, 0.5]])
    p = jax.nn.softmax(truncate(logits, Sampling(temperature=1e-6)))
    np.testing.assert_allclose(p, [[0, 1, 0, 0]], atol=1e-6)


def test_draws_follow_the_softmax():
    logits, draws = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05])), 20_000
    codes = jnp.argmax(logits + noise(3, jnp.arange(draws), 5, 4), axis=-1)
    np.testing.assert_allclose(np.bincount(codes, minlength=4) / draws, np.exp(logits), atol=0.015)


def test_noise_belongs_to_seed_sample_and_position():
    whole = noise(3, jnp.arange(6), 5, 4)
    np.testing.assert_array_equal(whole[jnp.array([4, 1])], noise(3, jnp.array([4, 1]), 5, 4))
    for other in (noise(4, jnp.arange(6), 5, 4), noise(3, jnp.arange(6), 6, 4), noise(3, jnp.arange(6) + 6, 5, 4)):
        assert np.all(whole != other)


def test_nothing_is_left_out_by_default():
    logits = jnp.array([[1.0, -50.0, 3.0]])
    np.testing.assert_array_equal(truncate(logits, ANCESTRAL), logits)
