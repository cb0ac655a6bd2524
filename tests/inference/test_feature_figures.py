"""Figures of two sets of features: hand-worked, and against loops that are written as the definitions are."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.linalg

from vqjax.inference.features import distances
from vqjax.inference.features.bootstrap import interval, resample_counts, share_interval
from vqjax.inference.features.distances import nearest_distances, neighbor_distances
from vqjax.inference.features.frechet import fit_gaussian, frechet_distance, frechet_interval
from vqjax.inference.features.kernels import kernel_interval
from vqjax.inference.features.neighborhoods import memorization_interval, neighborhood_intervals

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(30, 4)), 0.7 * RNG.normal(size=(23, 4)) + 0.3
COUNTS = resample_counts(30, RNG, 5), resample_counts(23, RNG, 5)


def column(*numbers):
    return np.array(numbers, float)[:, None]


def repeated(features, counts):
    return features.repeat(counts.astype(int), axis=0)


@pytest.fixture(params=[2**22, 50], ids=["one block", "blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(distances, "_NUMBERS", request.param)


def test_frechet_distances_by_hand():
    """Variances 2 and 2, means 3 apart; variances 2 and 8, means 1 apart: 1 + 2 + 8 - 2 √16."""
    for other, expected in (((3, 5), 9), ((0, 4), 3), ((0, 2), 0)):
        assert frechet_distance(fit_gaussian(column(0, 2)), fit_gaussian(column(*other))) == pytest.approx(expected)


def test_the_frechet_distance_of_gaussians_is_the_closed_form():
    rotation = scipy.linalg.expm(np.array([[0, 1, 2], [-1, 0, 3], [-2, -3, 0]]))
    means, variances = RNG.normal(size=(2, 3)), np.array([[4.0, 1, 0.25], [1, 9, 0]])  # the last is singular
    first, second = (rotation @ np.diag(variance) @ rotation.T for variance in variances)
    closed = ((means[0] - means[1]) ** 2).sum() + ((np.sqrt(variances[0]) - np.sqrt(variances[1])) ** 2).sum()
    assert frechet_distance((means[0], first), (means[1], second)) == pytest.approx(closed)


def test_the_frechet_distance_is_that_of_scipys_square_root():
    (mean1, cov1), (mean2, cov2) = fit_gaussian(FIRST), fit_gaussian(SECOND)
    np.testing.assert_allclose(cov1, np.cov(FIRST.T))
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2 - 2 * root)
    assert frechet_distance((mean1, cov1), (mean2, cov2)) == pytest.approx(expected)


def test_fewer_images_than_dimensions_have_a_finite_distance_and_none_to_themselves():
    few, others = RNG.normal(size=(2, 6, 20))
    assert frechet_distance(fit_gaussian(few), fit_gaussian(few)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(fit_gaussian(few), fit_gaussian(others)) > 1


def test_frechet_distances_of_resamples_are_those_of_sets_with_images_twice():
    found = frechet_interval(FIRST, SECOND, *COUNTS)
    sets = [(repeated(FIRST, ours), repeated(SECOND, theirs)) for ours, theirs in zip(COUNTS[0].T, COUNTS[1].T)]
    again = np.array([frechet_distance(fit_gaussian(first), fit_gaussian(second)) for first, second in sets])
    np.testing.assert_allclose(found, interval(found.value, again))
    assert found.low < found.value < found.high < again.max()  # which are larger without the shift


def kid(first, second, first_numbers, second_numbers, paired=False):
    """The unbiased estimate, pair by pair; the numbers are those of the images that the rows are of."""
    kernel = lambda x, y: (x @ y / len(x) + 1) ** 3  # noqa: E731
    pairs = lambda x, i, y, j: [  # noqa: E731
        kernel(x[a], y[b]) for a in i for b in j if a != b or not (x is y or paired)
    ]
    within = [np.mean(pairs(x, i, x, i)) for x, i in ((first, first_numbers), (second, second_numbers))]
    return sum(within) - 2 * np.mean(pairs(first, first_numbers, second, second_numbers))


def test_kid_by_hand():
    """k(x, y) = (x y + 1)³: within 1 and 1, between 1, 1, 1 and 27; paired, between 1 and 1."""
    ones = np.ones((2, 1))
    assert kernel_interval(column(0, 1), column(0, 2), ones, ones).value == 1 + 1 - 2 * 7.5
    assert kernel_interval(column(0, 1), column(0, 2), ones, ones, paired=True).value == 0


@pytest.mark.parametrize("paired", [False, True])
def test_kid_is_that_of_all_pairs_of_two_images(blocks, paired):
    second = SECOND if not paired else FIRST + 0.1 * RNG.normal(size=FIRST.shape)
    counts = COUNTS[0], COUNTS[0] if paired else COUNTS[1]
    found = kernel_interval(FIRST, second, *counts, paired)
    numbers = [np.arange(len(features)) for features in (FIRST, second)]
    assert found.value == pytest.approx(kid(FIRST, second, *numbers, paired))
    again = [
        kid(FIRST, second, *(each.repeat(count.astype(int)) for each, count in zip(numbers, draw)), paired)
        for draw in zip(counts[0].T, counts[1].T)
    ]
    np.testing.assert_allclose(found, interval(found.value, np.array(again)))


def test_kid_of_two_halves_of_a_set_is_0_on_average():
    ones = np.ones((20, 1))
    halves = RNG.normal(size=(400, 2, 20, 4))
    found = np.array([kernel_interval(*half, ones, ones).value for half in halves])
    assert abs(found.mean()) < 3 * found.std() / 20
    biased = np.array([kid(*half, np.arange(20), np.arange(20)) for half in halves[:5]])
    np.testing.assert_allclose(found[:5], biased)


def neighborhoods(first, second, k):
    """Precision, recall, density and coverage of each image, as the papers define them."""

    def radius(features, row):
        return sorted(np.linalg.norm(features - features[row], axis=1))[k]  # itself is the first

    def inside(point, features, row):
        return np.linalg.norm(point - features[row]) < radius(features, row)

    n, m = range(len(first)), range(len(second))
    table = np.array([[inside(first[i], second, j) for j in m] for i in n])
    recall = [any(inside(second[j], first, i) for i in n) for j in m]
    return {
        "precision": table.any(1),
        "recall": np.array(recall),
        "density": table.sum(1) / k,
        "coverage": table.any(0),
    }


@pytest.mark.parametrize("k", [1, 3])
def test_neighborhoods_are_those_of_the_definitions(blocks, k):
    found, expected = neighborhood_intervals(FIRST, SECOND, *COUNTS, k), neighborhoods(FIRST, SECOND, k)
    assert {*found} == {*expected}
    for name, values in expected.items():
        counts = COUNTS[0] if name in ("precision", "density") else COUNTS[1]
        again = np.array([repeated(values, draw).mean() for draw in counts.T])
        assert found[name].value == pytest.approx(values.mean()), name
        np.testing.assert_allclose(found[name], interval(values.mean(), again, 0, np.inf if name == "density" else 1))
    assert 0 < found["recall"].value != found["precision"].value < 1  # so that one does not pass for the other


def test_neighborhoods_by_hand():
    """Balls of k = 1 around 0, 1, 3 reach 1, 1, 2 far; those around 0.5, 10 reach 9.5."""
    draws = np.ones((2, 1)), np.ones((3, 1))
    found = neighborhood_intervals(column(0.5, 10), column(0, 1, 3), *draws, 1)
    values = {name: figure.value for name, figure in found.items()}
    # 0.5 is in the balls of 0 and 1, and 10 in none; 0, 1 and 3 are in the balls of 0.5 and, but for 0, of 10
    assert values == {"precision": 0.5, "recall": 1, "density": 1, "coverage": pytest.approx(2 / 3)}


def test_a_set_is_precise_and_complete_against_itself(blocks):
    found = neighborhood_intervals(FIRST, FIRST, COUNTS[0], COUNTS[0])
    assert {name: figure.value for name, figure in found.items()} == {
        name: pytest.approx(1) for name in ("precision", "recall", "density", "coverage")
    }
    assert all(figure == (1, 1, 1) for name, figure in found.items() if name != "density")


def test_sets_far_apart_have_nothing_of_each_other():
    found = neighborhood_intervals(FIRST, SECOND + 100, *COUNTS)
    assert [figure.value for figure in found.values()] == [0, 0, 0, 0]


def test_what_lies_at_the_same_place_has_no_distance(blocks):
    """Whatever the product of large numbers is rounded to."""
    features = 1e3 + RNG.normal(size=(12, 7))
    twice = np.concatenate([features, features])
    assert not neighbor_distances(twice, 1).any() and neighbor_distances(twice, 2).all()
    assert not nearest_distances(features, twice).any()
    far = np.sort(((features[:, None] - features) ** 2).sum(-1), axis=1)
    np.testing.assert_allclose(neighbor_distances(features, 3), far[:, 3], rtol=1e-6)


def test_memorization_by_hand():
    """0 is nearer than 1 and 2, 1 is nearer than 2 and as near as 1: 1 + 1 + ½ + 1 of 4."""
    ones = np.ones((2, 1))
    found = memorization_interval(np.array([0.0, 1]), np.array([2.0, 1]), ones, ones)
    assert found == (0.875, 0.875, 0.875)
    assert memorization_interval(np.zeros(2), np.array([2.0, 1]), ones, ones).value == 1  # copies
    assert memorization_interval(np.array([2.0, 1]), np.array([2.0, 1]), ones, ones).value == 0.5


def test_memorization_of_resamples_is_that_of_all_pairs():
    samples, test = RNG.integers(0, 9, 30), RNG.integers(0, 9, 23)

    def share(samples, test):
        return np.mean([(s < t) + (s == t) / 2 for s, t in itertools.product(samples, test)])

    found = memorization_interval(samples, test, *COUNTS)
    draws = zip(COUNTS[0].T, COUNTS[1].T)
    again = np.array([share(repeated(samples, ours), repeated(test, theirs)) for ours, theirs in draws])
    assert found.value == pytest.approx(share(samples, test))
    np.testing.assert_allclose(found, interval(found.value, again, 0, 1))


def test_a_share_has_the_interval_of_the_binomial_distribution():
    values = np.arange(1_000) < 900
    found = share_interval(values, resample_counts(1_000, np.random.default_rng(1), 2_000))
    assert found.value == 0.9
    np.testing.assert_allclose([found.low, found.high], 0.9 + 1.96 * np.array([-1, 1]) * np.sqrt(0.09e-3), atol=2e-3)
    counts = resample_counts(7, np.random.default_rng(2), 50)
    assert counts.shape == (7, 50) and (counts.sum(0) == 7).all() and counts.std() > 0.5


def test_neighborhoods_of_many_images_fit_into_memory(monkeypatch):
    """Blocks of half a MB, of which a few are there at once; all distances are 32 MB."""
    monkeypatch.setattr(distances, "_NUMBERS", 2**16)
    features, counts = RNG.normal(size=(2, 2_000, 4)), np.ones((2_000, 2))
    tracemalloc.start()
    neighborhood_intervals(*features, counts, counts)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 2**20
