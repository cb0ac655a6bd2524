"""Finite scalar quantization: levels, codes and gradients by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import task_of

from vqjax.config.check import Section, build
from vqjax.quantizers import FSQ, QUANTIZERS
from vqjax.quantizers.fsq import bound
from vqjax.system.errors import InputError

LEVELS = [(2,), (3,), (8,), (7, 5), (2, 3, 4), (8, 5, 5, 5), (1001, 1000)]


def fresh(levels, code_dim=6):
    """With biases: those of a fresh one are 0."""
    quantizer = FSQ(code_dim, levels)
    # Of as many numbers, but fewer codes: the parameters do not depend on the levels.
    variables = FSQ(code_dim, (2,) * len(levels)).init(jax.random.key(1), jnp.zeros((1, 1, 1, code_dim)), False)
    return quantizer, jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), variables)


def transparent(levels):
    """Vectors are the numbers themselves: those before the bound go in, and the levels come out on [-1, 1]."""
    d = len(levels)
    dense = {"kernel": jnp.eye(d), "bias": jnp.zeros(d)}
    return FSQ(d, levels), {"params": {"numbers": dense, "vectors": dense}}


def test_odd_levels_by_hand():
    """L = 5: round(2 tanh x); atanh(1/4) = 0.2554 and atanh(3/4) = 0.9730 are where the levels meet."""
    quantizer, variables = transparent((5,))
    x = np.array([-9.0, -0.98, -0.96, -0.26, -0.25, 0.0, 0.25, 0.26, 0.96, 0.98, 9.0], np.float32)
    quantized = quantizer.apply(variables, x.reshape(1, 1, -1, 1), False)
    np.testing.assert_array_equal(quantized.codes.reshape(-1), [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(quantized.z_q.reshape(-1), [-1, -1, -0.5, -0.5, 0, 0, 0, 0.5, 0.5, 1, 1])


def test_even_levels_by_hand():
    """L = 4: round(1.5 tanh(x + tan 1/3) - 1/2), from -2 to 1.

    The levels meet at -atanh 2/3, 0 and atanh 2/3 less tan 1/3 = 0.3463, which is -1.1510, -0.3463 and 0.4585.
    """
    quantizer, variables = transparent((4,))
    x = np.array([-9.0, -1.16, -1.14, -0.35, -0.34, 0.0, 0.45, 0.46, 9.0], np.float32)
    quantized = quantizer.apply(variables, x.reshape(1, 1, -1, 1), False)
    np.testing.assert_array_equal(quantized.codes.reshape(-1), [0, 0, 1, 1, 2, 2, 2, 3, 3])
    np.testing.assert_array_equal(quantized.z_q.reshape(-1), [-1, -1, -0.5, -0.5, 0, 0, 0, 0.5, 0.5])


def test_the_bound_is_the_papers():
    """Its listing with eps = 0 (appendix A.1), in float64; 0 stays near 0."""
    levels, x = (2, 3, 8, 65_536), np.linspace(-4, 4, 100)[:, None].repeat(4, 1)
    half = (np.array(levels) - 1) / 2
    offset = np.array([0.5, 0.0, 0.5, 0.5])
    expected = np.tanh(x + np.tan(offset / half)) * half - offset
    np.testing.assert_allclose(bound(jnp.float32(x), levels), expected, rtol=1e-5, atol=0.02)
    np.testing.assert_allclose(bound(jnp.zeros(4), levels), 0, atol=0.05)


@pytest.mark.more
@pytest.mark.parametrize("levels", [*range(2, 18), 999, 1000, 1001, 1002, 4097, 65_535, 65_536])
def test_each_number_has_exactly_its_levels(levels):
    """Every one is reached, and none beyond."""
    wanted = np.arange(levels) - levels // 2
    edges = bound(jnp.array([[-1e9], [-20.0], [20.0], [1e9]]), (levels,)).round().reshape(-1)
    np.testing.assert_array_equal(edges, [wanted[0], wanted[0], wanted[-1], wanted[-1]])
    half, offset = (levels - 1) / 2, 0 if levels % 2 else 0.5
    inside = np.clip((wanted + offset) / half, -1 + 1e-7, 1 - 1e-7)
    x = np.arctanh(inside) - np.tan(offset / half)  # in the middle of each
    np.testing.assert_array_equal(bound(jnp.float32(x)[:, None], (levels,)).round()[:, 0], wanted)


@pytest.mark.more
@pytest.mark.parametrize("levels", LEVELS)
def test_every_code_is_reached_and_comes_back(levels):
    """codes -> numbers -> codes, for all of them; what is looked up is what the decoder sees, bit for bit."""
    quantizer, variables = transparent(levels)
    K = int(np.prod(levels))
    assert quantizer.num_codes == K
    codes = np.arange(min(K, 10_000)) + max(0, K - 10_000)
    digits = np.stack(np.unravel_index(codes, levels[::-1])[::-1], axis=-1)  # the first number counts least
    half, offset = (np.array(levels) - 1) / 2, np.where(np.array(levels) % 2, 0, 0.5)
    inside = np.clip((digits - np.array(levels) // 2 + offset) / half, -1 + 1e-7, 1 - 1e-7)
    x = (np.arctanh(inside) - np.tan(offset / half)).astype(np.float32)
    apply = jax.jit(lambda x: quantizer.apply(variables, x, False)[:2])
    z_q, found = apply(x[None, None])
    np.testing.assert_array_equal(found[0, 0], codes)
    vectors = quantizer.apply(variables, found, method="lookup")
    np.testing.assert_array_equal(vectors, z_q)
    np.testing.assert_allclose(vectors[0, 0], (digits - np.array(levels) // 2) / (np.array(levels) // 2), rtol=1e-6)
    assert len(np.unique(vectors[0, 0], axis=0)) == len(codes) and np.abs(vectors).max() <= 1


@pytest.mark.more
@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.thinned(3)
def test_lookup_is_bit_equal_to_what_the_decoder_sees(levels, jitted):
    quantizer, variables = fresh(levels)
    wrap = jax.jit if jitted else lambda f: f
    z = 2 * jax.random.normal(jax.random.key(0), (4, 7, 5, 6))
    for train in (False, True):
        z_q, codes = wrap(lambda z, train=train: quantizer.apply(variables, z, train)[:2])(z)
        assert codes.dtype == jnp.int32 and codes.min() >= 0 and codes.max() < quantizer.num_codes
        np.testing.assert_array_equal(wrap(lambda c: quantizer.apply(variables, c, method="lookup"))(codes), z_q)


@pytest.mark.more
@pytest.mark.parametrize("levels", [(2,), (5,), (8, 5, 4)])
def test_the_gradient_is_that_of_the_bound(levels):
    """Straight through the rounding: half (1 - tanh^2(x + shift)) / (L // 2), between the projections; no loss."""
    quantizer, variables = fresh(levels)
    z = jax.random.normal(jax.random.key(0), (2, 3, 3, 6))
    w = jax.random.normal(jax.random.key(3), z.shape)
    gradient = jax.grad(lambda z: jnp.sum(w * quantizer.apply(variables, z, True).z_q))(z)
    numbers, vectors = variables["params"]["numbers"], variables["params"]["vectors"]
    counts = np.array(levels)
    half, offset = (counts - 1) / 2, np.where(counts % 2, 0, 0.5)
    x = np.asarray(z, np.float64) @ numbers["kernel"] + numbers["bias"] + np.tan(offset / half)
    through = w @ vectors["kernel"].T / (counts // 2) * half * (1 - np.tanh(x) ** 2)
    np.testing.assert_allclose(gradient, through @ numbers["kernel"].T, rtol=1e-3, atol=1e-5)
    quantized = quantizer.apply(variables, z, True)
    assert quantized.loss == 0 and set(quantized.metrics) == {"code_frequency"}


def test_half_precision_vectors_are_rounded_in_float32():
    """1,001 levels and products of bfloat16 numbers: the codes are those of the same vectors in float32."""
    quantizer, variables = fresh((1001, 1000))
    z = jax.random.normal(jax.random.key(0), (4, 7, 5, 6), jnp.bfloat16)
    codes = lambda z: jax.jit(lambda z: quantizer.apply(variables, z, False)[:2])(z)  # noqa: E731
    (z_q, found), (expected_z_q, expected) = codes(z), codes(z.astype(jnp.float32))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(z_q, expected_z_q.astype(jnp.bfloat16))
    assert z_q.dtype == jnp.bfloat16 and len(np.unique(found)) > 130  # of 140


def test_many_codes_are_numbered_without_a_table():
    """2^31 - 2^16 of them, the last 65536 * 32767 - 1; the frequencies are not made where nobody asks for them."""
    levels = (65_536, 32_767)
    quantizer, variables = transparent(levels)
    far = jnp.array([[[[-100.0, -100.0], [100.0, -100.0], [-100.0, 100.0], [100.0, 100.0]]]])
    codes = jax.jit(lambda z: quantizer.apply(variables, z, False).codes)(far)[0, 0]
    np.testing.assert_array_equal(codes, [0, 65_535, 65_536 * 32_766, 65_536 * 32_767 - 1])
    found = quantizer.apply(variables, codes, method="lookup")
    np.testing.assert_allclose(found, [[-1, -1], [1, -1], [-1, 1], [1, 1]], atol=1e-4)


@pytest.mark.parametrize("levels", [(), (65_536, 32_768), (65_536, 65_536), (2,) * 31])
def test_levels_that_no_code_can_number_are_refused(levels):
    with pytest.raises(InputError) as error:
        FSQ(4, levels).check("config.model.fsq")
    assert f"config.model.fsq.levels={levels}: expected one number or more, with a product of at most" in str(
        error.value
    )


@pytest.mark.parametrize(
    "levels, message",
    [
        ((8, 1), r"levels\[1\]=1: expected at least 2 and at most 65536"),
        ((65_537,), r"levels\[0\]=65537: expected at least 2 and at most 65536"),
        ((8, 5.0), r"levels\[1\]=5.0: expected int, got float"),
        ((8, True), r"levels\[1\]=True: expected int, got bool"),
        (8, r"levels=8: expected tuple, got int"),
        ("85", r"levels='85': expected tuple, got str"),
        ((), r"levels=\(\): expected one number or more"),
        ((65_536, 65_536), r"levels=\(65536, 65536\): expected .* a product of at most 262144"),
    ],
)
def test_wrong_levels_are_refused_by_their_key(small_config, levels, message):
    small_config.model.quantizer = "fsq"
    with small_config.ignore_type():
        small_config.model.fsq.levels = levels
    with pytest.raises(InputError, match=f"config.model.fsq.{message}"):
        task_of(small_config)


def test_a_list_as_json_has_it_is_a_tuple(small_config):
    small_config.model.quantizer = "fsq"
    small_config.model.fsq = {"levels": [4, 3]}
    assert build(QUANTIZERS, Section.of(small_config, "config.model"), "quantizer", code_dim=2) == FSQ(2, (4, 3))


def test_all_codes_of_a_broad_distribution_are_used():
    """Nothing collapses: numbers of the size of 1 or 2 reach each of the codes."""
    quantizer, variables = transparent((8, 6, 5))
    z = 1.5 * jax.random.normal(jax.random.key(0), (100, 10, 10, 3))
    frequency = quantizer.apply(variables, z, True).metrics["code_frequency"]
    assert frequency.shape == (240,) and frequency.min() > 0
    np.testing.assert_allclose(frequency.sum(), 1, rtol=1e-5)


def test_codes_are_in_mixed_radix():
    """i + 2 j + 6 k: the first number counts least."""
    quantizer, variables = transparent((2, 3, 4))
    for i, j, k in itertools.product(range(2), range(3), range(4)):
        found = quantizer.apply(variables, jnp.int32(i + 2 * j + 6 * k), method="lookup")
        np.testing.assert_array_equal(found, [i - 1, j - 1, (k - 2) / 2])
