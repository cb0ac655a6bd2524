"""The search for the nearest code, against all distances at once and in float64; and k-means, which stands on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_on
from sklearn.cluster import KMeans

from vqjax.ops import kmeans as kmeans_module
from vqjax.ops.kmeans import kmeans
from vqjax.ops.search import code_means, nearest_codes
from vqjax.system.errors import InputError

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
    found = np.asarray(jax.jit(nearest_codes)(z, codebook))
    assert found.dtype == np.int32
    expected, margin = direct(z, codebook)
    clear = margin > 1e-5
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(found[clear], expected[clear])


@pytest.mark.parametrize("size", SIZES)
def test_of_equally_near_codes_it_is_the_first(size):
    """Whole numbers, so that all is exact: many codes twice and more, and many positions between two codes."""
    z, codebook = np.round(2 * normal(size[0], size[2])), np.round(2 * normal(*size[1:])[::-1])
    search = jax.jit(nearest_codes)
    np.testing.assert_array_equal(search(z, codebook), direct(z, codebook)[0])
    assert not np.any(search(z, np.ones_like(codebook)))


@pytest.mark.parametrize("size", SIZES)
def test_copies_are_as_near_in_every_block(size):
    """So the same numbers are equal wherever in the codebook they stand."""
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


@pytest.mark.parametrize("size", SIZES[:4])
def test_what_rounding_costs_is_bounded(size):
    """Two clusters at 1,000 and -1,000, each of spread 1: the limit that the docstring states, and the right cluster."""
    rng = np.random.default_rng(1)
    z, codebook = (normal(n, size[2]) + 1_000 * np.float32(rng.choice([-1, 1], (n, 1))) for n in size[:2])
    found = np.asarray(jax.jit(nearest_codes)(z, codebook))
    excess = ((np.float64(z) - codebook[found]) ** 2).sum(1) - (
        (np.float64(z) - codebook[direct(z, codebook)[0]]) ** 2
    ).sum(1)
    largest = max(np.linalg.norm(np.float64(x), axis=1).max() for x in (z, codebook))
    assert excess.min() >= 0 and excess.max() <= 2**-21 * (size[2] + 1) * largest**2
    assert np.all(np.sign(codebook[found, 0]) == np.sign(z[:, 0]))


def test_many_positions_under_vmap_are_searched_together():
    """Where one by one they are few: no array of all by all codes comes of it."""
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
    found = export(jax.ShapeDtypeStruct((n, 2, 5, 3), jnp.float32)).call(z)
    np.testing.assert_array_equal(found, nearest_codes(z, codebook))


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("num_codes", [7, 20_000])
def test_means_by_hand(monkeypatch, platform, num_codes):
    """By segments, and by products."""
    as_on(monkeypatch, platform)
    z, codes = normal(20, 30, 2), np.random.default_rng(1).integers(0, num_codes, (20, 30))
    total = np.zeros((num_codes, 2))
    np.add.at(total, codes, z)
    shares, mean = jax.jit(code_means, static_argnums=2)(codes, z, num_codes)
    np.testing.assert_allclose(shares, np.bincount(codes.reshape(-1), minlength=num_codes) / 600, rtol=1e-6)
    np.testing.assert_allclose(mean, total / 600, atol=1e-7)


@pytest.mark.parametrize(
    "dtype, scale", [(jnp.float16, 1), (jnp.bfloat16, 1), (jnp.float32, 1e-15), (jnp.float32, 1), (jnp.float32, 3e18)]
)
def test_codes_of_any_type_and_size_are_found(dtype, scale):
    """Of some the squares of the differences have no finite sum."""
    codebook = jnp.asarray(scale * normal(512, 4), dtype)
    np.testing.assert_array_equal(nearest_codes(codebook, codebook), np.arange(512))


@pytest.fixture(params=["few", "many"])
def either(request, monkeypatch):
    """The k-means of few codes and that of many."""
    if request.param == "many":
        for name in ("_FEW", "_SMALL"):
            monkeypatch.setattr(kmeans_module, name, 0)
        monkeypatch.setattr(kmeans_module, "_DISTANCES", 1_000)  # in several calls


@pytest.mark.parametrize("origin", [0, 2**14])
def test_kmeans_finds_separate_clusters_and_repeats_itself(either, origin):
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32) + origin
    vectors = centres.repeat(100, 0) + 0.1 * normal(400, 2)
    found = kmeans(vectors, 4, seed=0)
    np.testing.assert_allclose(found[np.lexsort(found.round().T)], centres[np.lexsort(centres.T)], atol=0.05)
    np.testing.assert_array_equal(found, kmeans(vectors, 4, seed=0))


@pytest.mark.parametrize("origin", [0, 2**14])
def test_kmeans_takes_the_nearest_centre_and_of_equal_ones_the_first(either, origin):
    centres = np.stack(np.meshgrid(*[np.arange(5.0)] * 2), -1).reshape(25, 2) + origin
    expected = np.random.default_rng(0).integers(25, size=300)
    vectors = centres[expected] + 0.1 * normal(300, 2).clip(-4, 4)
    found = kmeans_module._nearest(np.float32(vectors), np.float32(np.tile(centres, (2, 1))))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("clusters", [0, 60])
def test_kmeans_is_as_good_as_scikit_learns(monkeypatch, clusters):
    """And that of many nearly so, also where vectors that are drawn at random would leave clusters without a code."""
    vectors = normal(1_000, 4)
    if clusters:
        vectors = vectors / 10 + np.resize(10 * normal(1_000 + clusters, 4)[-clusters:], vectors.shape)
    error = lambda centres: np.mean((vectors - centres[nearest_codes(vectors, centres)]) ** 2)  # noqa: E731
    reference = KMeans(100, n_init=1, random_state=0).fit(vectors).inertia_ / vectors.size
    assert error(kmeans(vectors, 100, 0)) < 1.02 * reference < 0.75 * error(vectors[:100])
    for name in ("_FEW", "_SMALL"):
        monkeypatch.setattr(kmeans_module, name, 0)
    assert error(kmeans(vectors, 100, 0)) < 1.1 * reference


def test_kmeans_with_fewer_distinct_vectors(either):
    vectors = np.array([[0, 0], [5, 5], [9, 0]] * 10, np.float32)
    assert set(map(tuple, kmeans(vectors, 20, 0))) == {(0, 0), (5, 5), (9, 0)}


def test_kmeans_refuses_what_is_not_finite(either):
    vectors = normal(30, 2)
    vectors[3, 1] = np.nan
    with pytest.raises(InputError, match="k-means: expected finite vectors, 1 of 30 are not"):
        kmeans(vectors, 4, 0)
