"""The variational autoencoder's latents: forward, divergence and gradients by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, run, saved, stop_after

from vqjax.config.schedules import ScheduleConfig
from vqjax.quantizers import Gaussian
from vqjax.quantizers.gaussian import kl_to_standard
from vqjax.training import loop

Z = jax.random.normal(jax.random.key(0), (3, 4, 2, 5))
NOISE = jax.random.split(jax.random.key(2), 3)


def gaussian(start=1.0, end=1.0):
    return Gaussian(5, 2, ScheduleConfig("linear", start, end, 1.0))


def variables_of():
    """With biases: those of a fresh one are 0."""
    variables = gaussian().init(jax.random.key(1), Z, False)
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(3), leaf.shape), variables)


def moments(variables, z):
    """Mean and log-variance in float64, (..., 2) each."""
    dense = variables["params"]["moments"]
    return np.split(np.asarray(z, np.float64) @ dense["kernel"] + dense["bias"], 2, axis=-1)


def decoded(variables, latents):
    dense = variables["params"]["vectors"]
    return latents @ np.asarray(dense["kernel"], np.float64) + dense["bias"]


def normal(noise):
    return np.stack([jax.random.normal(key, (4, 2, 2)) for key in noise])


def test_forward_against_numpy():
    """In training a sample, in evaluation the mean."""
    variables = variables_of()
    mean, log_variance = moments(variables, Z)
    sample = mean + np.exp(log_variance / 2) * normal(NOISE)
    quantized = gaussian().apply(variables, Z, True, 0.5, NOISE)
    np.testing.assert_allclose(quantized.z_q, decoded(variables, sample), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        gaussian().apply(variables, Z, False).z_q, decoded(variables, mean), rtol=1e-4, atol=1e-5
    )
    assert quantized.codes is None and set(quantized.metrics) == {"kl"} and gaussian().num_codes == 0


def test_kl_against_the_closed_form():
    """(mu^2 + sigma^2 - ln sigma^2 - 1) / 2, summed over the latents, mean over the positions."""
    variables = variables_of()
    mean, log_variance = moments(variables, Z)
    expected = ((mean**2 + np.exp(log_variance) - log_variance - 1) / 2).sum(-1).mean()
    for train in (True, False):
        quantized = gaussian().apply(variables, Z, train, 0.5, NOISE)
        np.testing.assert_allclose(quantized.metrics["kl"], expected, rtol=1e-5)
        np.testing.assert_allclose(quantized.loss, expected, rtol=1e-5)


def test_kl_against_a_direct_sum():
    """int q ln(q / p), by the rectangle rule."""
    x, width = np.linspace(-30, 30, 600_001, retstep=True)
    log_normal = lambda m, v: -((x - m) ** 2) / (2 * v) - np.log(2 * np.pi * v) / 2  # noqa: E731
    for mean, variance in ((0.0, 1.0), (1.5, 1.0), (0.0, 0.01), (-2.0, 4.0)):
        q = np.exp(log_normal(mean, variance))
        direct = np.sum(q * (log_normal(mean, variance) - log_normal(0, 1))) * width
        found = kl_to_standard(jnp.array([[mean]]), jnp.log(jnp.array([[variance]])))
        np.testing.assert_allclose(found, direct, rtol=1e-4, atol=1e-7)


def test_kl_near_the_prior_is_not_rounded_away():
    """x^2 / 4 of a log-variance x: 1 + x is 1 in float32 long before that is 0."""
    log_variance = jnp.full((1, 4), 1e-3)
    np.testing.assert_allclose(kl_to_standard(jnp.zeros((1, 4)), log_variance), 4 * 1e-6 / 4, rtol=1e-2)
    assert kl_to_standard(jnp.zeros((1, 4)), jnp.zeros((1, 4))) == 0


def test_gradient_by_hand():
    """d/dmu = mu w / N + g, d/d ln sigma^2 = (sigma^2 - 1) w / 2 N + g sigma eps / 2, with g that of the sample."""
    variables, w = variables_of(), jax.random.normal(jax.random.key(4), Z.shape)

    def objective(z):
        quantized = gaussian(0.0, 2.0).apply(variables, z, True, 0.5, NOISE)  # weight 1
        return jnp.sum(w * quantized.z_q) + quantized.loss

    mean, log_variance = moments(variables, Z)
    positions, g = mean.size // 2, np.asarray(w, np.float64) @ variables["params"]["vectors"]["kernel"].T
    of_mean = g + mean / positions
    of_log_variance = g * np.exp(log_variance / 2) * normal(NOISE) / 2 + (np.exp(log_variance) - 1) / 2 / positions
    expected = np.concatenate([of_mean, of_log_variance], -1) @ variables["params"]["moments"]["kernel"].T
    np.testing.assert_allclose(jax.grad(objective)(Z), expected, rtol=1e-3, atol=1e-4)


def test_the_weight_follows_the_run_and_evaluation_is_at_its_end():
    quantizer, variables = gaussian(0.0, 2.0), variables_of()
    for progress, weight in ((0.0, 0.0), (0.25, 0.5), (1.0, 2.0)):
        quantized = quantizer.apply(variables, Z, True, progress, NOISE)
        np.testing.assert_allclose(quantized.loss, weight * quantized.metrics["kl"], rtol=1e-6)
    quantized = quantizer.apply(variables, Z, False, 0.0)
    np.testing.assert_allclose(quantized.loss, 2 * quantized.metrics["kl"], rtol=1e-6)


def test_noise_belongs_to_the_example():
    """Its key alone decides, wherever in the batch it is; another key is another sample."""
    variables = variables_of()
    z_q = lambda z, keys: gaussian().apply(variables, z, True, 0.5, keys).z_q  # noqa: E731
    whole = z_q(Z, NOISE)
    np.testing.assert_allclose(z_q(Z[::-1], NOISE[::-1]), whole[::-1], atol=1e-6)
    np.testing.assert_allclose(z_q(Z[1:2], NOISE[1:2]), whole[1:2], atol=1e-6)
    same = jnp.tile(Z[:1], (3, 1, 1, 1))
    assert np.abs(z_q(same, NOISE)[0] - z_q(same, NOISE)[1]).min() > 0
    np.testing.assert_array_equal(z_q(Z, None), gaussian().apply(variables, Z, False).z_q)  # without keys, the mean


def test_samples_follow_the_distribution():
    z = jnp.tile(Z[:1, :1, :1], (20_000, 1, 1, 1))
    variables = variables_of()
    mean, log_variance = moments(variables, z[0, 0, 0])
    identity = {"kernel": jnp.eye(2, 5), "bias": jnp.zeros(5)}  # so that the latents are seen
    variables = {"params": {**variables["params"], "vectors": identity}}
    drawn = gaussian().apply(variables, z, True, 0.5, jax.random.split(jax.random.key(5), len(z))).z_q[:, 0, 0, :2]
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.05 * np.exp(log_variance / 2).max())
    np.testing.assert_allclose(drawn.std(0), np.exp(log_variance / 2), rtol=0.03)


@pytest.mark.parametrize("scale", [1e3, 1e6])
@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_log_variances_stay_finite(scale, sign):
    quantizer, variables = gaussian(), variables_of()
    variables["params"]["moments"]["bias"] = jnp.array([0.0, 0.0, sign * scale, sign * scale])

    def objective(variables):
        quantized = quantizer.apply(variables, Z, True, 0.5, NOISE)
        return jnp.mean(quantized.z_q**2) + quantized.loss

    value, gradient = jax.value_and_grad(objective)(variables)
    assert np.isfinite(value) and all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_half_precision_is_only_that_of_the_vectors():
    """Bit for bit what float32 vectors of the same value give, rounded."""
    variables, half = variables_of(), Z.astype(jnp.bfloat16)
    found = gaussian().apply(variables, half, True, 0.5, NOISE)
    expected = gaussian().apply(variables, half.astype(jnp.float32), True, 0.5, NOISE)
    np.testing.assert_array_equal(found.z_q, expected.z_q.astype(jnp.bfloat16))
    assert found.loss == expected.loss


@pytest.fixture
def vae_config(small_config):
    small_config.model.quantizer = "gaussian"
    small_config.data.update({"flip": True, "crop": 1})
    return small_config


@pytest.mark.slow
def test_eight_devices_are_one(vae_config):
    _, eight, history = run(vae_config, devices=8)
    _, one, history_of_one = run(vae_config, devices=1)
    assert_close((eight.params, history), (one.params, history_of_one), 1e-5)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical(vae_config, tmp_path, monkeypatch):
    assert loop.train(vae_config, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert loop.train(vae_config, tmp_path / "cut") == 143
    assert loop.train(vae_config, tmp_path / "cut") == 0
    assert_same(saved(tmp_path / "whole"), saved(tmp_path / "cut"))
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == (tmp_path / "cut" / "metrics.jsonl").read_text()
