"""Gradient estimators: their Jacobians by hand, where they are not determined, and what trains the codebook."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quantizing import built

from vqjax.quantizers import EMA, ESTIMATORS, VQ, SimVQ
from vqjax.quantizers.estimators import diveq, rotation, straight_through
from vqjax.system.errors import InputError

DIMENSIONS = [1, 2, 3, 8, 64]


def pairs(dim, count=20):
    """Vectors z and q, (count, dim), of different lengths; for one number, of the same sign."""
    rng = np.random.default_rng(dim)
    z, q = rng.normal(size=(2, count, dim)).astype(np.float32)
    q = 3 * (q if dim > 1 else np.abs(q) * np.sign(z))
    return z, q


def jacobians(estimate, z, q, argument=0):
    """The derivative of each row of the output by the same row of an argument, (count, D, D)."""
    return jax.vmap(jax.jacrev(estimate, argument))(jnp.asarray(z), jnp.asarray(q))


@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_forward_is_the_code(name, dim):
    z, q = pairs(dim)
    for change in (lambda q: q, lambda q: -q, lambda q: 1e-8 * q, lambda q: 1e6 * q, lambda q: z):
        expected = change(q)
        found = jax.jit(ESTIMATORS[name].output)(z, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dim", DIMENSIONS)
def test_straight_through_has_the_identity(dim):
    z, q = pairs(dim)
    np.testing.assert_array_equal(jacobians(straight_through, z, q), np.broadcast_to(np.eye(dim), (len(z), dim, dim)))


@pytest.mark.more
@pytest.mark.parametrize("dim", DIMENSIONS)
def test_the_rotations_jacobian_is_a_scaled_rotation_that_takes_z_to_q(dim):
    """J = lambda R with R orthogonal of determinant 1, and J z = q. Nothing reaches q."""
    z, q = pairs(dim)
    jacobian = np.asarray(jacobians(rotation, z, q), np.float64)
    scale = np.linalg.norm(q, axis=1) / np.linalg.norm(z, axis=1)
    turn = jacobian / scale[:, None, None]
    np.testing.assert_allclose(turn @ turn.mT, np.broadcast_to(np.eye(dim), turn.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-5)
    np.testing.assert_allclose((jacobian @ z[..., None])[..., 0], q, atol=1e-5)
    assert not np.any(jacobians(rotation, z, q, argument=1))


def test_the_rotations_jacobian_by_hand():
    """z = (3, 0), q = (0, 2): a quarter turn, and two thirds of the length.

    And the paper's formula, lambda (I - 2 w w' + 2 q^ z^'), in five dimensions.
    """
    found = jacobians(rotation, [[3.0, 0.0]], [[0.0, 2.0]])[0]
    np.testing.assert_allclose(found, 2 / 3 * np.array([[0, -1], [1, 0]]), atol=1e-6)
    (z,), (q,) = pairs(5, count=1)
    e, o = np.float64(z / np.linalg.norm(z)), np.float64(q / np.linalg.norm(q))
    w = (e + o) / np.linalg.norm(e + o)
    expected = np.linalg.norm(q) / np.linalg.norm(z) * (np.eye(5) - 2 * np.outer(w, w) + 2 * np.outer(o, e))
    np.testing.assert_allclose(jacobians(rotation, [z], [q])[0], expected, atol=1e-5)


@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize(
    "case",
    {
        "opposite": lambda z: (z, -2 * z),
        "nearly opposite": lambda z: (z, -2 * z + 1e-7),
        "z is 0": lambda z: (0 * z, z),
        "q is 0": lambda z: (z, 0 * z),
        "both are 0": lambda z: (0 * z, 0 * z),
        "z is tiny": lambda z: (1e-30 * z, z),
        "z is denormal": lambda z: (1e-42 * z, z),
    }.items(),
    ids=lambda case: case[0],
)
def test_where_no_rotation_is_determined_the_gradient_is_straight_through(case, dim):
    z, q = case[1](pairs(dim)[0])
    expected = np.broadcast_to(np.eye(dim), (len(z), dim, dim))
    np.testing.assert_allclose(jacobians(rotation, z, q), expected, atol=1e-6)


def test_one_vector_without_a_rotation_leaves_the_others_theirs():
    z, q = pairs(4)
    expected = np.array(jacobians(rotation, z, q))
    q[3], expected[3] = -q[3], jacobians(rotation, z[3:4], -q[3:4])[0]
    q[5], expected[5] = -z[5], np.eye(4)
    weights = np.random.default_rng(0).normal(size=z.shape).astype(np.float32)
    gradient = jax.grad(lambda z: jnp.sum(weights * rotation(z, jnp.asarray(q))))(jnp.asarray(z))
    np.testing.assert_allclose(gradient, np.einsum("nij,ni->nj", expected, weights), atol=1e-4)


@pytest.mark.parametrize("dim", DIMENSIONS)
def test_diveq_shares_the_gradient_by_the_direction_of_the_error(dim):
    """I - u u' to z and u u' to q, u = (q - z) / |q - z|; the identity to z where there is no error."""
    z, q = pairs(dim)
    u = (q - z) / np.linalg.norm(q - z, axis=1, keepdims=True)
    outer = u[:, :, None] * u[:, None]
    np.testing.assert_allclose(jacobians(diveq, z, q), np.eye(dim) - outer, atol=1e-5)
    np.testing.assert_allclose(jacobians(diveq, z, q, argument=1), outer, atol=1e-5)
    identity = np.broadcast_to(np.eye(dim), (len(z), dim, dim))
    np.testing.assert_array_equal(jacobians(diveq, z, z), identity)
    assert not np.any(jacobians(diveq, z, z, argument=1))


QUANTIZERS_OF = [(name, kind) for name in ESTIMATORS for kind in (VQ, EMA, SimVQ) if (name, kind) != ("diveq", EMA)]


@pytest.mark.more
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name, kind", QUANTIZERS_OF)
def test_a_quantizer_has_the_gradient_that_it_is_told(name, kind, train):
    """In evaluation too: d sum(w z_q) / dz is the estimator's; the loss adds commitment, or nothing with diveq."""
    quantizer = kind(code_dim=3, num_codes=5, beta=0.25, gradient=name)
    z, w = jax.random.normal(jax.random.key(0), (2, 7, 3))
    variables = quantizer.init(jax.random.key(1), z, False)

    def quantized(z, variables=variables):
        return quantizer.apply(variables, z, train, mutable=["codebook"])[0]

    q = quantizer.apply(variables, quantized(z).codes, method="lookup")
    expected = jax.grad(lambda z: jnp.sum(w * ESTIMATORS[name].output(z, q)))(z)
    np.testing.assert_allclose(jax.grad(lambda z: jnp.sum(w * quantized(z).z_q))(z), expected, atol=1e-6)
    commitment = 2 * 0.25 * (z - q) / z.size
    own = 0 * z if ESTIMATORS[name].trains_codebook else commitment
    np.testing.assert_allclose(jax.grad(lambda z: quantized(z).loss)(z), own, atol=1e-6)
    if not ESTIMATORS[name].trains_codebook:
        return
    assert set(quantized(z).metrics) == {"code_frequency"}

    def output(params):
        return jnp.sum(w * quantized(z, {**variables, "params": params}).z_q)

    # The codebook gets the task's gradient through q: for VQ, the sum of u u' w over a code's positions.
    gradient = jax.grad(output)(variables["params"])
    error = np.asarray(q - z)
    u = error / np.linalg.norm(error, axis=1, keepdims=True)
    by_code = np.zeros((5, 3))
    np.add.at(by_code, np.asarray(quantized(z).codes), u * np.sum(u * w, axis=1, keepdims=True))
    if kind is VQ:
        np.testing.assert_allclose(gradient["codebook"], by_code, atol=1e-5)
    else:  # e_k = W c_k
        coefficients = np.asarray(variables["constants"]["coefficients"])
        np.testing.assert_allclose(gradient["basis"], by_code.T @ coefficients, atol=1e-5)


def test_what_an_estimator_cannot_do_is_refused():
    with pytest.raises(
        InputError, match="config.model.ema.gradient='diveq': expected one of straight_through, rotation"
    ):
        built("ema", gradient="diveq")
    with pytest.raises(InputError, match="config.model.vq.dead_code_threshold=0.0: expected more than 0, since with"):
        built("vq", gradient="diveq", dead_code_threshold=0.0)
