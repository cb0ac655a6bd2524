"""The search for the nearest code, against all distances at once and in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.ops.search import nearest_codes

# Positions, codes, D: at once; a block of either; several, that they do not divide; tiles.
SIZES = [(50, 11, 7), (2_048, 512, 16), (100, 5_001, 3), (600, 20_003, 5), (1_111, 2_049, 40), (10_000, 30, 1)]


def direct(z, codebook):
    """The nearest codes and the second-nearest's distance less the nearest's, in float64."""
    z, codebook = np.float64(z), np.float64(codebook)
    distances = (codebook**2).sum(1) - 2 * z @ codebook.T
    two = np.sort(distances, axis=1)[:, :2]
    return distances.argmin(1), two[:, 1] - two[:, 0]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_the_nearest_is_the_one_that_argmin_finds(size):
    z, codebook = normal(size[0], size[2]), normal(*size[1:])[::-1]
    codes = np.asarray(jax.jit(nearest_codes)(z, codebook))
    assert codes.dtype == np.int32
    expected, margin = direct(z, codebook)
    clear = margin > 1e-5
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(codes[clear], expected[clear])


@pytest.mark.parametrize("size", SIZES)
def test_copies_are_as_near_in_every_block(size):
    """A distance is the same number wherever in the codebook the code stands."""
    z, codebook = normal(size[0], size[2]), normal(*size[1:])
    copies = np.concatenate([codebook[: size[1] // 3]] * 3)
    assert np.all(jax.jit(nearest_codes)(z, copies) < size[1] // 3)


@pytest.mark.parametrize("size", SIZES[:4])
def test_the_nearest_is_not_lost_far_from_the_origin(size):
    z, codebook = normal(size[0], size[2]) + 1_000, normal(*size[1:])[::-1] + 1_000
    expected, margin = direct(z, codebook)
    clear = margin > 1e-4
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(np.asarray(jax.jit(nearest_codes)(z, codebook))[clear], expected[clear])


@pytest.mark.parametrize("apart", [0, 10, 1_000])
def test_the_nearest_is_as_near_as_float32_can_tell(apart):
    """Codes in two clusters: a distance is exact to 1e-6 of the largest square, as the docstring says."""
    z, codebook = (normal(count, 8) + apart * np.resize([-1, 1], (count, 1)) for count in (2_000, 600))
    codes, squares = nearest_codes(z, codebook), np.float64(codebook - codebook.mean(0)) ** 2
    distances = ((np.float64(z)[:, None] - np.float64(codebook)) ** 2).sum(2)
    excess = distances[np.arange(len(z)), codes] - distances.min(1)
    assert excess.max() < 1e-6 * squares.sum(1).max()


def test_many_positions_under_vmap_are_searched_together():
    """Each example has few, but there is no array of all positions by all codes."""
    z, codebook = normal(40, 30, 8), normal(5_000, 8)
    search = jax.jit(jax.vmap(nearest_codes, (0, None)))
    np.testing.assert_array_equal(search(z, codebook), nearest_codes(z, codebook))
    assert search.lower(z, codebook).compile().memory_analysis().temp_size_in_bytes < 40 * 30 * 5_000 * 4 / 2
    books = np.stack([codebook, -codebook])
    np.testing.assert_array_equal(jax.vmap(nearest_codes, (None, 0))(z, books)[1], nearest_codes(-z, codebook))


def test_a_large_search_takes_little_memory():
    """2^17 positions by 2^18 codes would be 128 GiB."""
    z, codebook = (jax.ShapeDtypeStruct((2**n, 8), jnp.float32) for n in (17, 18))
    assert jax.jit(nearest_codes).lower(z, codebook).compile().memory_analysis().temp_size_in_bytes < 2**26


def test_any_number_of_positions_in_an_exported_program():
    codebook = normal(70_000, 3)
    (n,) = jax.export.symbolic_shape("n")
    export = jax.export.export(jax.jit(lambda z: nearest_codes(z, codebook)))
    z = normal(3, 2, 5, 3)
    codes = export(jax.ShapeDtypeStruct((n, 2, 5, 3), jnp.float32)).call(z)
    np.testing.assert_array_equal(codes, nearest_codes(z, codebook))


@pytest.mark.parametrize(
    "dtype, scale", [(jnp.float16, 1), (jnp.bfloat16, 1), (jnp.float32, 1e-15), (jnp.float32, 1), (jnp.float32, 3e18)]
)
def test_codes_of_any_type_and_size_are_found(dtype, scale):
    """Some of them have squares whose sum is not finite."""
    codebook = jnp.asarray(scale * normal(512, 4), dtype)
    np.testing.assert_array_equal(nearest_codes(codebook, codebook), np.arange(512))
