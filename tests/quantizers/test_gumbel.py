"""Gumbel-softmax: samples, gradients, divergence and diversity by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quantizing import built

from vqjax.config.schedules import ScheduleConfig
from vqjax.quantizers import Gumbel
from vqjax.quantizers.gumbel import kl_to_uniform
from vqjax.system.errors import InputError


def gumbel(hard, temperature=1.0, kl_weight=1.0, diversity_weight=0.0, decay=0.9):
    ramp = lambda value: ScheduleConfig("constant", value, value, 1.0)  # noqa: E731
    return Gumbel(2, 5, hard, 0.0, ramp(temperature), ramp(kl_weight), diversity_weight, decay)


def gumbel_call(quantizer, variables, z, noise, progress=0.0):
    return quantizer.apply(variables, z, True, progress, noise, mutable=["codebook"])[0]


def gumbel_sample(logits, noise, temperature):
    """softmax((logits + g) / tau), in NumPy, with the noise of each example's key."""
    gumbels = np.stack([jax.random.gumbel(key, logits.shape[1:]) for key in noise])
    scaled = (np.asarray(logits, np.float64) + gumbels) / temperature
    y = np.exp(scaled - scaled.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


@pytest.mark.more
@pytest.mark.parametrize("hard", [True, False])
def test_gumbel_forward_and_gradient(hard):
    """Forward the relaxed or the one-hot sample times the embeddings; backward the relaxed one's gradient in both."""
    z = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    noise = jax.random.split(jax.random.key(2), 3)
    variables = gumbel(hard).init(jax.random.key(1), z, False)
    dense, embedding = variables["params"]["logits"], variables["params"]["codebook"]
    y = gumbel_sample(z @ dense["kernel"] + dense["bias"], noise, 0.7)
    one_hot = np.eye(5)[y.argmax(-1)]
    quantized = gumbel_call(gumbel(hard, 0.7), variables, z, noise)
    np.testing.assert_array_equal(quantized.codes, y.argmax(-1))
    np.testing.assert_allclose(quantized.z_q, (one_hot if hard else y) @ embedding, atol=1e-5)

    w = jax.random.normal(jax.random.key(3), z.shape)

    def gradient(flag):
        sample = lambda z: gumbel_call(gumbel(flag, 0.7), variables, z, noise).z_q  # noqa: E731
        return jax.grad(lambda z: jnp.sum(w * sample(z)))(z)

    np.testing.assert_allclose(gradient(True), gradient(False), atol=1e-5)
    # d z_q / d logits of a softmax at temperature tau: (diag(y) - y y^T) E / tau.
    jacobian = (np.einsum("...k,kj->...kj", y, np.eye(5)) - y[..., :, None] * y[..., None, :]) / 0.7
    expected = np.einsum("...d,kd,...kj,ij->...i", w, embedding, jacobian, dense["kernel"])
    np.testing.assert_allclose(gradient(hard), expected, atol=1e-4)


def test_gumbel_at_a_low_temperature_is_the_hard_sample():
    z = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    noise = jax.random.split(jax.random.key(2), 3)
    variables = gumbel(True).init(jax.random.key(1), z, False)
    soft, hard = (gumbel_call(gumbel(flag, 1e-4), variables, z, noise) for flag in (False, True))
    np.testing.assert_allclose(soft.z_q, hard.z_q, atol=1e-5)
    np.testing.assert_array_equal(soft.codes, hard.codes)


def test_gumbel_samples_follow_the_distribution():
    """How often each code is drawn is its probability, at any temperature."""
    z = jnp.tile(jnp.array([0.5, -1.0]), (20_000, 1, 1, 1))
    variables = gumbel(True).init(jax.random.key(1), z[:1], False)
    dense = variables["params"]["logits"]
    probability = jax.nn.softmax(z[0, 0, 0] @ dense["kernel"] + dense["bias"])
    quantized = gumbel_call(gumbel(True, 0.3), variables, z, jax.random.split(jax.random.key(0), len(z)))
    np.testing.assert_allclose(quantized.metrics["code_frequency"], probability, atol=0.015)


def test_kl_against_a_direct_sum():
    logits = np.random.default_rng(0).normal(size=(4, 3, 6))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(kl_to_uniform(jnp.float32(logits)), (p * np.log(p * 6)).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(kl_to_uniform(jnp.zeros((2, 9))), 0, atol=1e-6)
    np.testing.assert_allclose(kl_to_uniform(jnp.array([1000.0, 0, 0, 0])), np.log(4), rtol=1e-6)


def test_diversity_against_a_direct_sum():
    """mean_n sum_k p_nk ln(K f_k), against the running mean as it was, which then follows; the gradient by hand."""
    z = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    quantizer, noise = gumbel(True, kl_weight=0.0, diversity_weight=2.0), jax.random.split(jax.random.key(2), 3)
    variables = quantizer.init(jax.random.key(1), z, False)
    running = np.array([0.5, 0.2, 0.1, 0.1, 0.1], np.float32)
    variables["codebook"]["frequency"] = jnp.asarray(running)
    dense = variables["params"]["logits"]
    p = np.asarray(jax.nn.softmax(z.reshape(-1, 2) @ dense["kernel"] + dense["bias"]), np.float64)
    quantized, after = quantizer.apply(variables, z, True, 0.0, noise, mutable=["codebook"])
    expected = (p * np.log(5 * running)).sum(-1).mean()
    np.testing.assert_allclose(quantized.metrics["diversity_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 2 * expected, rtol=1e-5)
    np.testing.assert_allclose(after["codebook"]["frequency"], 0.9 * running + 0.1 * p.mean(0), rtol=1e-5)
    # d/d bias_j of mean_n sum_k p_nk c_k is mean_n p_nj (c_j - sum_k p_nk c_k).
    c = np.log(5 * running)
    loss = lambda params: gumbel_call(quantizer, {**variables, "params": params}, z, noise).loss  # noqa: E731
    gradient = jax.grad(loss)(variables["params"])["logits"]["bias"]
    np.testing.assert_allclose(gradient, 2 * (p * (c - p @ c[:, None])).mean(0), atol=1e-6)
    # A uniform running mean asks for nothing, and an unused code does not give an infinite loss.
    variables["codebook"]["frequency"] = jnp.full(5, 0.2)
    np.testing.assert_allclose(gumbel_call(quantizer, variables, z, noise).loss, 0, atol=1e-6)
    variables["codebook"]["frequency"] = jnp.array([1.0, 0, 0, 0, 0])
    assert np.isfinite(gumbel_call(quantizer, variables, z, noise).loss)


def test_gumbel_schedules_follow_the_run_and_evaluation_is_at_its_end():
    quantizer = Gumbel(
        2, 5, True, 0.0, ScheduleConfig("linear", 1.0, 0.5, 0.5), ScheduleConfig("linear", 0.0, 2.0, 1.0), 0.0, 0.9
    )
    z, noise = jnp.ones((1, 2, 2, 2)), jax.random.split(jax.random.key(0), 1)
    variables = quantizer.init(jax.random.key(1), z, False)
    for progress, temperature, weight in ((0.0, 1.0, 0.0), (0.25, 0.75, 0.5), (0.75, 0.5, 1.5)):
        quantized = gumbel_call(quantizer, variables, z, noise, progress)
        np.testing.assert_allclose(quantized.metrics["temperature"], temperature, rtol=1e-6)
        np.testing.assert_allclose(quantized.loss, weight * quantized.metrics["kl"], atol=1e-6)
    quantized = quantizer.apply(variables, z, False, 0.0)
    np.testing.assert_allclose(quantized.loss, 2 * quantized.metrics["kl"], rtol=1e-6)


@pytest.mark.parametrize("end", ["start", "end"])
def test_a_temperature_of_zero_is_refused(end):
    values = {"start": 1.0, "end": 1.0, end: 0.0}
    temperature, weight = (
        ScheduleConfig("linear", values["start"], values["end"], 1.0),
        ScheduleConfig("constant", 0, 0, 1.0),
    )
    quantizer = Gumbel(2, 5, True, 0.0, temperature, weight, 0.0, 0.9)
    with pytest.raises(InputError, match=rf"config.model.gumbel.temperature.{end}=0.0: expected at least 0.001"):
        quantizer.check("config.model.gumbel")


@pytest.mark.more
def test_aligned_embeddings_tell_of_z_from_the_start():
    """Logits of the size asked for; the embedding of a code that is drawn points where z does."""
    z, keys = jax.random.normal(jax.random.key(0), (1000, 1, 1, 16)), jax.random.split(jax.random.key(2), 1000)
    cosines = {}
    for alignment in (0.0, 1.0, 4.0):
        quantizer = built("gumbel", num_codes=100, alignment=alignment).clone(code_dim=16)
        variables = quantizer.init(jax.random.key(1), z, False)
        assert float((z @ variables["params"]["logits"]["kernel"]).std()) == pytest.approx(alignment or 1, rel=0.1)
        z_q = quantizer.apply(variables, z, True, 0.5, keys, mutable=["codebook"])[0].z_q
        cosines[alignment] = float(
            np.mean((z * z_q).sum(-1) / np.linalg.norm(z, axis=-1) / np.linalg.norm(z_q, axis=-1))
        )
    assert abs(cosines[0.0]) < 0.05 < 0.1 < cosines[1.0] < 0.4 < cosines[4.0]
