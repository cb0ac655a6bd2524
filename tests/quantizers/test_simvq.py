"""SimVQ: a codebook that one matrix moves, on vectors that stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_autoencoder
from helpers import run, saved

from vqjax.quantizers import SimVQ
from vqjax.training import loop


@pytest.fixture
def quantizer():
    return SimVQ(code_dim=3, num_codes=5, beta=0.25)


@pytest.fixture
def variables(quantizer):
    variables = quantizer.init(jax.random.key(0), jnp.zeros((1, 3)), False)
    variables["params"]["basis"] = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)
    return variables


def test_codes_are_the_matrix_times_the_coefficients(quantizer, variables):
    matrix, coefficients = variables["params"]["basis"], variables["constants"]["coefficients"]
    expected = np.stack([np.asarray(matrix) @ c for c in np.asarray(coefficients)])
    np.testing.assert_allclose(quantizer.apply(variables, method="codebook"), expected, atol=1e-6)
    np.testing.assert_allclose(quantizer.apply(variables, np.arange(5), method="lookup"), expected, atol=1e-6)


def test_it_starts_as_normal_vectors_of_length_about_1():
    variables = SimVQ(code_dim=64, num_codes=4_096).init(jax.random.key(0), jnp.zeros((1, 64)), False)
    np.testing.assert_array_equal(variables["params"]["basis"], np.eye(64))
    coefficients = np.asarray(variables["constants"]["coefficients"])
    assert abs(coefficients.mean()) < 1e-3 and coefficients.std() == pytest.approx(1 / 8, rel=0.01)


def test_the_gradient_of_the_matrix_by_hand(quantizer, variables):
    """d loss / dW = sum over positions of 2 (e - z) c' / N; the matrix alone is trained."""
    z = jax.random.normal(jax.random.key(1), (7, 3))
    gradient = jax.grad(lambda params: quantizer.apply({**variables, "params": params}, z, True).loss)(
        variables["params"]
    )
    assert set(gradient) == {"basis"}
    quantized = quantizer.apply(variables, z, True)
    coefficients = np.asarray(variables["constants"]["coefficients"])[quantized.codes]
    expected = 2 * (np.asarray(quantized.z_q) - np.asarray(z)).T @ coefficients / z.size
    np.testing.assert_allclose(gradient["basis"], expected, rtol=1e-4, atol=1e-6)


@pytest.fixture
def config():
    config = small_autoencoder()
    config.model.quantizer = "simvq"
    return config


@pytest.mark.more
@pytest.mark.parametrize("microbatch", [0, 8])
@pytest.mark.parametrize("devices", [1, 3])
def test_the_coefficients_stay_to_the_last_bit(config, devices, microbatch):
    """Averages over devices and microbatches, which are sums of three divided by three, would round them."""
    config.update({"batch_size": 24, "microbatch": microbatch})
    _, before, _ = run(config, devices=devices, steps=0)
    _, after, _ = run(config, devices=devices, steps=4)
    jax.tree.map(np.testing.assert_array_equal, before.extra["constants"], after.extra["constants"])
    assert np.any(before.params["quantizer"]["basis"] != after.params["quantizer"]["basis"])


@pytest.mark.more
def test_the_coefficients_are_in_the_checkpoint(config, tmp_path):
    config.update({"steps": 2, "eval_every": 2, "save_every": 2})
    assert loop.train(config, tmp_path) == 0
    _, items = saved(tmp_path)
    assert items["model"]["constants"]["quantizer"]["coefficients"].shape == (16, 8)


def test_every_code_moves_with_a_step():
    """Of 4,096 codes a batch uses few; after a step all are elsewhere."""
    quantizer = SimVQ(code_dim=8, num_codes=4_096)
    z = jax.random.normal(jax.random.key(0), (16, 8))
    variables = quantizer.init(jax.random.key(1), z, False)
    gradient = jax.grad(lambda params: quantizer.apply({**variables, "params": params}, z, True).loss)(
        variables["params"]
    )
    params = jax.tree.map(lambda p, g: p - g, variables["params"], gradient)
    before, after = (
        quantizer.apply({**variables, "params": p}, method="codebook") for p in (variables["params"], params)
    )
    assert np.abs(after - before).max(1).min() > 0
