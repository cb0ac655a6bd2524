"""Orders and groups of codes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.networks.priors import orders
from vqjax.networks.priors.orders import Run
from vqjax.system.errors import InputError


def test_ranks_are_the_inverse_permutations():
    order = orders.random_orders(jax.random.split(jax.random.key(0), 5), 7)
    np.testing.assert_array_equal(
        jnp.take_along_axis(orders.ranks(order), order, axis=1), np.tile(np.arange(7), (5, 1))
    )


def test_known_places_come_first_in_raster_order():
    known = np.array([[-1, 3, -1, 0, -1], [-1, -1, -1, -1, -1], [2, 2, 2, 2, 2]])
    keys = jax.random.split(jax.random.key(0), 3)
    order = np.asarray(orders.known_first(known, keys))
    np.testing.assert_array_equal(order[0, :2], [1, 3])
    np.testing.assert_array_equal(order[2], range(5))
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(5), (3, 1)))
    np.testing.assert_array_equal(orders.known_first(known[1:2], keys[1:2])[0], order[1])


def test_unknown_places_come_in_every_order_alike():
    keys = jax.random.split(jax.random.key(1), 3_000)
    order = np.asarray(orders.known_first(np.tile([-1, 0, -1, -1], (3_000, 1)), keys))
    counts = [np.sum(np.all(order[:, 1:] == rest, axis=1)) for rest in itertools.permutations((0, 2, 3))]
    assert sum(counts) == 3_000
    np.testing.assert_allclose(counts, 500, atol=90)


def test_orders_of_evaluations_are_fixed():
    order = np.asarray(orders.evaluation_orders(64))
    assert order.shape == (8, 64) and len(np.unique(order, axis=0)) == 8
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(64), (8, 1)))
    np.testing.assert_array_equal(orders.evaluation_orders(64), order)


def test_groups_by_hand():
    assert orders.complete_groups(None, 3) == (1, 1, 1)
    assert orders.complete_groups([2, 1], 3) == (2, 1)
    np.testing.assert_array_equal(orders.group_starts((2, 1, 3)), [0, 0, 2, 3, 3, 3])
    assert orders.skip_known((2, 1, 3), 0) == (0, (2, 1, 3))
    assert orders.skip_known((2, 1, 3), 2) == (2, (1, 3))
    assert orders.skip_known((2, 1, 3), 5) == (3, (3,))
    assert orders.skip_known((2, 1, 3), 6) == (6, ())


@pytest.mark.parametrize("groups", [(), (2, 2), (3, -1, 1), (3, 0)])
def test_groups_of_another_sum_are_refused(groups):
    with pytest.raises(InputError, match=r"^groups of \[.*\] codes: expected sizes of 1 or more that sum to 3$"):
        orders.complete_groups(groups, 3)


def test_runs_by_hand():
    assert orders.runs(()) == []
    assert orders.runs((1, 1, 2, 2, 2, 5), 3) == [Run(3, 1, 2), Run(5, 2, 3), Run(11, 5, 1)]
    assert orders.runs((2, 2, 2, 9), 0, 4) == [Run(0, 2, 2), Run(4, 2, 1), Run(6, 9, 1)]
