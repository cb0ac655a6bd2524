"""Attention to the first keys, against plain sums in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_on

from vqjax.ops.attention import attention

B, H, N, M, D = 2, 3, 5, 7, 4


def expected(q, k, v, visible):
    """Query by query, over the keys that it sees and no others."""
    result = np.zeros(q.shape)
    for b, h, n in np.ndindex(q.shape[:3]):
        count = np.broadcast_to(visible, (len(q), q.shape[2]))[b, n]
        scores = k[b, h, :count] @ q[b, h, n] / np.sqrt(q.shape[3])
        weights = np.exp(scores - scores.max())
        result[b, h, n] = weights / weights.sum() @ v[b, h, :count]
    return result


@pytest.fixture(params=["cpu", "cuda"])
def attend(request):
    return as_on(request.param, attention)


def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, H, N, D)), rng.normal(size=(B, H, M, D)), rng.normal(size=(B, H, M, D))


VISIBLE = {
    "causal": np.arange(N) + 1,
    "all": np.full(N, M),
    "groups": np.array([1, 1, 3, 3, 3]),
    "by row": np.array([[1, 4, 2, 7, 5], [7, 6, 1, 1, 3]]),
}


@pytest.mark.parametrize("name", VISIBLE)
def test_it_is_the_softmax_over_the_first_keys(attend, name):
    q, k, v = arrays()
    found = attend(*map(jnp.float32, (q, k, v)), VISIBLE[name])
    np.testing.assert_allclose(found, expected(q, k, v, VISIBLE[name]), atol=1e-6)


@pytest.mark.parametrize("name", VISIBLE)
def test_gradients_are_those_of_the_sums_and_0_at_other_keys(attend, name):
    """Against finite differences in float64."""
    visible, given = VISIBLE[name], arrays()
    weights = np.random.default_rng(1).normal(size=(B, H, N, D))
    loss = lambda *x: jnp.sum(weights * attend(*x, visible))  # noqa: E731
    gradients = jax.grad(loss, (0, 1, 2))(*map(jnp.float32, given))
    rng = np.random.default_rng(2)
    for i, gradient in enumerate(gradients):
        step = rng.normal(size=given[i].shape)
        moved = [[x + sign * 1e-4 * step if j == i else x for j, x in enumerate(given)] for sign in (1, -1)]
        up, down = (np.sum(weights * expected(*x, visible)) for x in moved)
        np.testing.assert_allclose(np.sum(np.asarray(gradient) * step), (up - down) / 2e-4, rtol=1e-3, atol=1e-3)
    unseen = np.arange(M) >= np.broadcast_to(visible, (B, N)).max(1)[:, None]
    for gradient in gradients[1:]:
        assert not np.any(np.asarray(gradient).swapaxes(1, 2)[unseen])


def test_half_precision_takes_its_softmax_in_float32(attend):
    q, k, v = (jnp.bfloat16(x) for x in arrays())
    found = attend(q, k, v, VISIBLE["causal"])
    assert found.dtype == jnp.bfloat16
    exact = expected(*(np.asarray(x, np.float64) for x in (q, k, v)), VISIBLE["causal"])
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, atol=0.02)
