import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.ops import winograd

TAPS = sorted(itertools.product(winograd._TILES, repeat=2))


def direct(x, kernel):
    """The definition: each output is the sum over its patch."""
    m, n, _, o = kernel.shape
    b, h, w, _ = x.shape
    y = np.zeros((b, h - m + 1, w - n + 1, o))
    for i, j in np.ndindex(y.shape[1:3]):
        y[:, i, j] = np.tensordot(x[:, i : i + m, j : j + n], kernel, axes=3)
    return y


def direct_spread(x, kernel):
    """The definition of the transpose: each input adds its patch."""
    m, n, _, o = kernel.shape
    b, h, w, _ = x.shape
    y = np.zeros((b, h + m - 1, w + n - 1, o))
    for i, j in np.ndindex(h, w):
        y[:, i : i + m, j : j + n] += np.einsum("bc,mnco->bmno", x[:, i, j], kernel)
    return y


FUNCTIONS = {
    "correlated": (winograd.winograd_conv, direct),
    "spread": (winograd.winograd_conv_transpose, direct_spread),
}


@pytest.mark.parametrize("grid", [(2, 2), (5, 4), (6, 7)])
@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.thinned(2)
def test_on_whole_numbers_it_is_the_definition_exactly(name, taps, grid):
    """All sums are of whole numbers or quarters, which float32 has."""
    function, defined = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    outer = [size + m - 1 for size, m in zip(grid, taps)]
    x = rng.integers(-9, 10, (2, *(outer if name == "correlated" else grid), 3)).astype(np.float32)
    kernel = rng.integers(-9, 10, (*taps, 3, 4)).astype(np.float32)
    y, pull = jax.vjp(jax.jit(function), x, kernel)
    np.testing.assert_array_equal(y, defined(x, kernel))
    # Both maps are bilinear, so a unit vector's image is a column, and what it pulls back is a row.
    g = rng.integers(-9, 10, y.shape).astype(np.float32)
    dx, dkernel = pull(g)
    for given, gradient, at in [
        (x, dx, lambda unit: defined(unit, kernel)),
        (kernel, dkernel, lambda k: defined(x, k)),
    ]:
        assert gradient.shape == given.shape
        for place in rng.choice(given.size, 8, replace=False):
            unit = np.zeros_like(given)
            unit.flat[place] = 1
            assert np.ravel(gradient)[place] == np.sum(g * at(unit))


@pytest.mark.parametrize("taps", TAPS)
def test_an_output_depends_on_its_own_patch_alone(taps):
    """Its sums share inputs with its neighbour's: what that one alone sees must not enter, not even by rounding."""
    x, kernel = jax.random.normal(jax.random.key(0), (1, 9, 9, 8)), jax.random.normal(jax.random.key(1), (*taps, 8, 8))
    before = winograd.winograd_conv(x, kernel)
    for i, j in np.ndindex(3, 3):
        after = winograd.winograd_conv(x.at[:, 3 + i, 3 + j].set(1e6), kernel)
        changed = np.argwhere(np.any(np.asarray(before != after), (0, 3)))
        expected = [(3 + i - u, 3 + j - v) for u, v in np.ndindex(*taps)]
        assert sorted(map(tuple, changed)) == sorted(expected)


def test_it_loses_no_more_than_the_last_bits():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 10, 10, 256)), rng.normal(size=(3, 3, 256, 32))
    exact = direct(x, kernel)
    dimensions = ("NHWC", "HWIO", "NHWC")
    plain = jax.lax.conv_general_dilated(
        jnp.float32(x), jnp.float32(kernel), (1, 1), "VALID", dimension_numbers=dimensions
    )
    errors = [np.std(y - exact) for y in (winograd.winograd_conv(jnp.float32(x), jnp.float32(kernel)), plain)]
    assert errors[0] < 4 * errors[1] < 1e-5 * np.std(exact)


@pytest.mark.parametrize("taps", TAPS)
def test_its_products_are_as_few_as_promised(taps):
    """(m + 1) (n + 1) for 2 x 2 outputs of a filter of m x n taps, where the definition has 4 m n."""
    x, kernel = jax.ShapeDtypeStruct((4, 15 + taps[0], 15 + taps[1], 256), "float32"), (*taps, 256, 256)
    program = jax.jit(winograd.winograd_conv).lower(x, jax.ShapeDtypeStruct(kernel, "float32"))
    products = 4 * 8 * 8 * math.prod(m + 1 for m in taps) * 256 * 256  # of 4 images with 8 x 8 tiles
    definition = 4 * 16 * 16 * math.prod(kernel)
    assert products <= program.compile().cost_analysis()["flops"] / 2 < 1.25 * products < 0.75 * definition


@pytest.mark.parametrize("taps", TAPS)
def test_it_pays_with_fewer_channels_where_tiles_cover_the_grid(taps):
    """An odd grid has outputs made for nothing."""

    def fewest(grid):
        return next(c for c in range(1, 999) if winograd.is_faster((*taps, c, c), grid, jnp.float32))

    assert fewest((16, 16)) == fewest((32, 16)) < fewest((15, 16)) < fewest((15, 15))
