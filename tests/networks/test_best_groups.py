"""The dynamic programme for groups, against all groupings."""

import itertools

import numpy as np
import pytest

from vqjax.networks.priors.steps import best_groups
from vqjax.system.errors import InputError


def price(nats, groups, start):
    starts = np.cumsum([start, *groups])[:-1]
    return sum(size * nats[at] for size, at in zip(groups, starts))


def compositions(length, parts):
    """All tuples of so many sizes of 1 or more that sum to the length."""
    for cuts in itertools.combinations(range(1, length), parts - 1):
        yield tuple(np.diff([0, *cuts, length]))


@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("num_known", [0, 3])
@pytest.mark.parametrize("steps", range(1, 8))
def test_no_grouping_is_cheaper(steps, num_known, falling):
    for seed in range(5):
        nats = np.random.default_rng(seed).exponential(size=7)
        nats = np.sort(nats)[::-1] if falling else nats
        groups, total = best_groups(nats, steps, num_known)
        rest = len(nats) - num_known
        assert len(groups) == min(steps, rest) and sum(groups) == rest and min(groups) > 0
        np.testing.assert_allclose(total, price(nats, groups, num_known))
        prices = [price(nats, each, num_known) for each in compositions(rest, len(groups))]
        np.testing.assert_allclose(total, min(prices))


def test_by_hand():
    """The first code tells much, the others little: it is drawn alone."""
    assert best_groups([4.0, 1.0, 0.9, 0.8], 2) == ((1, 3), pytest.approx(4 + 3 * 1))
    assert best_groups([4.0, 1.0, 0.9, 0.8], 1) == ((4,), pytest.approx(16))
    assert best_groups([4.0, 1.0, 0.9, 0.8], 4) == ((1, 1, 1, 1), pytest.approx(6.7))
    assert best_groups([4.0, 1.0, 0.9, 0.8], 3, 2) == ((1, 1), pytest.approx(1.7))
    assert best_groups([4.0, 1.0], 1, 2) == ((), 0)


@pytest.mark.parametrize("steps", [0, -1, 5])
def test_more_steps_than_codes_are_refused(steps):
    with pytest.raises(InputError, match=f"^steps={steps}: expected from 1 to 4, the number of codes of an image$"):
        best_groups(np.ones(4), steps)
