"""k-means: clusters, ties, and how good it is."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from vqjax.ops import kmeans as kmeans_module
from vqjax.ops.kmeans import kmeans
from vqjax.ops.search import nearest_codes
from vqjax.system.errors import InputError


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(params=["few", "many"])
def either(request, monkeypatch):
    """The k-means of few codes and that of many."""
    if request.param == "many":
        for name in ("_MAX_ONE_BY_ONE", "_MAX_NUMPY_DISTANCES"):
            monkeypatch.setattr(kmeans_module, name, 0)
        monkeypatch.setattr(kmeans_module, "_DISTANCES_PER_CALL", 1_000)  # in several calls


@pytest.mark.parametrize("origin", [0, 2**14])
def test_kmeans_finds_separate_clusters_and_repeats_itself(either, origin):
    centers = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32) + origin
    vectors = centers.repeat(100, 0) + 0.1 * normal(400, 2)
    result = kmeans(vectors, 4, seed=0)
    np.testing.assert_allclose(result[np.lexsort(result.round().T)], centers[np.lexsort(centers.T)], atol=0.05)
    np.testing.assert_array_equal(result, kmeans(vectors, 4, seed=0))


@pytest.mark.parametrize("origin", [0, 2**14])
def test_kmeans_takes_the_nearest_center_and_of_equal_ones_the_first(either, origin):
    centers = np.stack(np.meshgrid(*[np.arange(5.0)] * 2), -1).reshape(25, 2) + origin
    expected = np.random.default_rng(0).integers(25, size=300)
    vectors = centers[expected] + 0.1 * normal(300, 2).clip(-4, 4)
    numbers = kmeans_module._nearest(np.float32(vectors), np.float32(np.tile(centers, (2, 1))))
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize("clusters", [0, 60])
def test_kmeans_is_as_good_as_scikit_learns(monkeypatch, clusters):
    """With many codes nearly so; also with clusters of which seeds drawn at random would miss some."""
    vectors = normal(1_000, 4)
    if clusters:
        vectors = vectors / 10 + np.resize(10 * normal(1_000 + clusters, 4)[-clusters:], vectors.shape)
    error = lambda centers: np.mean((vectors - centers[nearest_codes(vectors, centers)]) ** 2)  # noqa: E731
    reference = KMeans(100, n_init=1, random_state=0).fit(vectors).inertia_ / vectors.size
    assert error(kmeans(vectors, 100, 0)) < 1.02 * reference < 0.75 * error(vectors[:100])
    for name in ("_MAX_ONE_BY_ONE", "_MAX_NUMPY_DISTANCES"):
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
