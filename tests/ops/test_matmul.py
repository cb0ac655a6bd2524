"""Products with weights: the plain ones, and their gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_on

from vqjax.ops.matmul import Dense, dense


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", [None, jax.lax.Precision.HIGHEST])
@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 4, 7)])
@pytest.mark.parametrize("features", [3, 11])
def test_a_product_and_its_gradients_are_the_plain_ones(monkeypatch, platform, precision, shape, features):
    as_on(monkeypatch, platform)
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=shape), rng.normal(size=(7, features))
    y, pull = jax.vjp(lambda *a: dense(*a, precision), jnp.float32(x), jnp.float32(weights))
    np.testing.assert_allclose(y, x @ weights, atol=1e-5)
    dy = rng.normal(size=y.shape)
    dx, dw = pull(jnp.float32(dy))
    np.testing.assert_allclose(dx, dy @ weights.T, atol=1e-5)
    np.testing.assert_allclose(dw, x.reshape(-1, 7).T @ dy.reshape(-1, features), atol=1e-5)


def test_gradients_of_the_weights_have_positions_as_their_only_sum():
    """On a CPU, and those of tall weights are made the other way round: the quick ways."""
    for c, o in ((7, 3), (3, 7)):
        arguments = jnp.zeros((2, 4, 4, c)), jnp.zeros((c, o))
        gradient = jax.jit(jax.grad(lambda x, w: dense(x, w).sum(), 1))
        text = jax.export.export(gradient, platforms=["cpu"])(*arguments).mlir_module()
        assert ("optimization_barrier" in text) == (c > o)
        assert "contracting_dims = [0, 1, 2]" not in text


def test_dense_is_flaxs():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5))
    ours, plain = (module(4).init_with_output(jax.random.key(1), x) for module in (Dense, nn.Dense))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, plain)
