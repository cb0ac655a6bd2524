"""The transformer over codes: its equations, orders, classes and fields."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import more_but
from helpers import as_on
from priors import CLASSES, LAYOUTS, K, built, by_hand, inputs, logits_of, noisy, samples_of, shuffled
from priors import prior as made

from vqjax.codes import CodeLayout, Level, single_level
from vqjax.networks.priors import orders
from vqjax.networks.priors.base import Prior
from vqjax.networks.priors.sampling import ANCESTRAL, Sampling, sample
from vqjax.networks.priors.transformer import positions
from vqjax.system.errors import InputError


def norm(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def turned(x, position, heads):
    """A token (F,) -> (H, D), with row and column as angles of half of its pairs each."""
    x = norm(x.reshape(heads, -1))
    size = x.shape[1]
    speeds = 0.01 ** (np.arange(size // 4) / max(1, size // 4 - 1))
    angle = np.concatenate([position[0] * speeds, position[1] * speeds])
    complex_x = (x[:, : size // 2] + 1j * x[:, size // 2 :]) * np.exp(1j * angle)
    return np.concatenate([complex_x.real, complex_x.imag], axis=1)


def attend(params, x, position, memories, heads):
    """A block at one token (F,), which sees the memories of all tokens that are given."""
    q = turned(norm(x) @ params["query"]["kernel"], position, heads)
    keys, values = (np.stack(each) for each in zip(*memories))  # (M, H, D)
    scores = np.einsum("hd,mhd->hm", q, keys) / np.sqrt(q.shape[1])
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    x = x + np.einsum("hm,mhd->hd", weights, values).reshape(-1) @ params["out"]["kernel"]
    return x + np.maximum(norm(x) @ params["up"]["kernel"], 0) ** 2 @ params["down"]["kernel"]


def remember(params, x, position, heads):
    keys, values = np.split(norm(x) @ params["project"]["kernel"], 2)
    return turned(keys, position, heads), values.reshape(heads, -1)


def expected_logits(variables, layout, codes, label, order, place, seen, heads=2, half=2):
    """The logits at a place given the first `seen` codes of the order, token by token in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    level, depth, *_ = layout.coordinates.T
    sizes = [(each.num_codes, number, d) for number, each in enumerate(layout.levels) for d in range(each.depth)]
    book = [next(i for i, (_, *which) in enumerate(sizes) if which == [level[x], depth[x]]) for x in range(len(level))]
    offset = np.cumsum([0, *(size for size, *_ in sizes)])
    where = positions(layout)
    tokens = [(p["classes"]["embedding"][label], (0, 0))]
    for at in order[:seen]:
        tokens.append(
            (p["embedding"]["embedding"][offset[book[at]] + codes[at]] + p["places"]["embedding"][at], where[at])
        )
    xs = [x for x, _ in tokens]
    for i in range(half):
        kv = [remember(p[f"memories_{i}"], x, at, heads) for x, (_, at) in zip(xs, tokens)]
        xs = [attend(p[f"readers_{i}"], x, at, kv[: n + 1], heads) for n, (x, (_, at)) in enumerate(zip(xs, tokens))]
    kv = [remember(p[f"memories_{half}"], x, at, heads) for x, (_, at) in zip(xs, tokens)]
    x = p["places"]["embedding"][place] + p["classes"]["embedding"][label]
    for i in range(half):
        x = attend(p[f"predictors_{i}"], x, where[place], kv, heads)
    rows = len(x) * book[place] + np.arange(len(x))
    logits = norm(x) @ p["head"]["kernel"][rows]
    return np.where(np.arange(len(logits)) < sizes[book[place]][0], logits, -np.inf)


@pytest.mark.more
@pytest.mark.parametrize("groups", [None, (3, 1, 2)])
@pytest.mark.parametrize("title", more_but("levels", LAYOUTS))
def test_the_equations_by_hand(title, groups):
    """Each logit from the tokens that it may see, one by one: no masks, no cache."""
    layout = LAYOUTS[title]
    prior, variables = built("transformer", layout, layers=4)
    (codes,), order = inputs(layout, 1)[0], shuffled(layout, 1)
    groups = groups and (*groups, layout.length - sum(groups))
    logits = logits_of(prior, variables, codes[None], np.array([1]), order=order, groups=groups)[0]
    starts = orders.group_starts(orders.complete_groups(groups, layout.length))
    for number in (0, 1, 3, layout.length - 1):
        place = order[0, number]
        expected = expected_logits(variables, layout, codes, 1, order[0], place, starts[number])
        np.testing.assert_allclose(logits[place], expected, rtol=1e-4, atol=1e-4)


def test_coarse_places_lie_among_fine_ones():
    """Centers of 1 x 2 and 2 x 4 on the finer one; depths share them; a clip's frames are stacked."""
    fine = [(row, column) for row in range(2) for column in range(4)]
    np.testing.assert_allclose(positions(LAYOUTS["levels"]), [(0.5, 0.5), (0.5, 2.5), *fine])
    np.testing.assert_allclose(positions(single_level((1, 2), K, 2)), [(0, 0), (0, 0), (0, 1), (0, 1)])


@pytest.mark.more
@pytest.mark.parametrize("title", more_but("levels", LAYOUTS))
def test_a_group_sees_what_a_code_sees_that_comes_first_in_it(title):
    """Groups are the mask of training: the logits are those of an order with the code just behind its group's start."""
    layout = LAYOUTS[title]
    prior, variables = built("transformer", layout)
    codes, labels = inputs(layout)
    order, groups = shuffled(layout), (2, 4, layout.length - 6)
    grouped = logits_of(prior, variables, codes, labels, order=order, groups=groups)
    network = jax.jit(prior.apply)
    starts = orders.group_starts(groups)
    for number in range(layout.length):
        moved = np.delete(order, number, axis=1)
        moved = np.insert(moved, starts[number], order[:, number], axis=1)
        alone = network(variables, codes, labels, order=moved)
        for row in range(len(codes)):
            place = order[row, number]
            np.testing.assert_allclose(grouped[row, place], alone[row, place], rtol=1e-5, atol=1e-5)


@pytest.mark.more
@pytest.mark.parametrize("title", more_but("levels", LAYOUTS))
def test_raster_order_is_the_identity(title):
    """And groups of one are none: the same numbers and the same samples."""
    layout = LAYOUTS[title]
    prior, variables = built("transformer", layout)
    codes, labels = inputs(layout)
    raster = np.broadcast_to(np.arange(layout.length), codes.shape)
    expected = logits_of(prior, variables, codes, labels)
    np.testing.assert_allclose(logits_of(prior, variables, codes, labels, order=raster), expected, atol=1e-5)
    ones = (1,) * layout.length
    np.testing.assert_array_equal(logits_of(prior, variables, codes, labels, groups=ones), expected)
    draw = noisy(3, labels, layout.max_codes)
    samples = [
        samples_of(prior, variables, labels, draw, groups=groups, order=order)
        for groups, order in ((None, None), (ones, None), (ones, raster))
    ]
    np.testing.assert_array_equal(samples[1], samples[0])
    np.testing.assert_array_equal(samples[2], samples[0])


@pytest.mark.more
def test_codes_that_a_level_lacks_have_no_probability():
    layout = LAYOUTS["levels"]
    prior, variables = built("transformer", layout)
    codes, labels = inputs(layout)
    logits = logits_of(prior, variables, codes, labels)
    lacking = np.broadcast_to(np.arange(K) >= layout.num_codes[:, None], logits.shape)
    np.testing.assert_array_equal(np.isneginf(logits), lacking)
    hot = Sampling(temperature=1e6, guidance=3.0)
    drawn = jax.jit(lambda v: sample(prior, v, np.zeros(40, np.int32), np.arange(40), 0, hot))(variables)
    assert np.all(drawn < layout.num_codes) and np.any(drawn[:, :2] == K - 3)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_share_of_random_orders_falls_in_the_middle_third(share):
    layout = LAYOUTS["single"]
    prior = made("transformer", layout, order="any", random_share=share)
    keys = jax.random.split(jax.random.key(0), 600)
    order = jax.jit(prior.training_order)
    for progress, expected in ((0.0, 1), (1 / 3, 1), (0.5, (1 + share) / 2), (2 / 3, share), (1.0, share)):
        given = np.asarray(order(keys, progress))
        np.testing.assert_array_equal(np.sort(given, axis=1), np.broadcast_to(np.arange(layout.length), given.shape))
        random = np.any(given != np.arange(layout.length), axis=1).mean()
        assert abs(random - expected) < 0.08 * (0 < expected < 1) + 1e-3
        np.testing.assert_array_equal(order(keys[5:9], progress), given[5:9])  # the order belongs to the example
    everywhere = np.asarray(order(keys, 0.0)).mean(0)
    np.testing.assert_allclose(everywhere, (layout.length - 1) / 2, atol=0.8)


def test_a_raster_prior_trains_in_raster_order():
    prior = made("transformer", LAYOUTS["single"], order="raster")
    assert prior.training_order(jax.random.split(jax.random.key(0), 4), 0.0) is None
    assert not prior.any_order and not made("transformer", LAYOUTS["single"], random_share=0.0).any_order


@pytest.mark.more
def test_labels_are_dropped_in_training():
    """Of one example in ten, by its key; what it then sees is "no class"."""
    prior, variables = built("transformer", LAYOUTS["single"])
    codes, _ = inputs(LAYOUTS["single"], 1)
    codes, labels = np.repeat(codes, 600, axis=0), np.ones(600, np.int32)
    keys = jax.random.split(jax.random.key(1), 600)
    network = jax.jit(prior.apply)
    given = network(variables, codes, labels, keys)
    told, untold = (network(variables, codes[:1], np.array([label]))[0] for label in (1, CLASSES))
    dropped = np.abs(given - untold).max((1, 2)) < 1e-5
    assert np.all(dropped | (np.abs(given - told).max((1, 2)) < 1e-5))
    assert abs(dropped.mean() - 0.1) < 0.04
    np.testing.assert_allclose(network(variables, codes[:50], labels[:50], keys[:50]), given[:50], atol=1e-5)


@pytest.mark.more
@pytest.mark.parametrize("groups", more_but((3, 4, 5), [None, (3, 4, 5)]))
def test_guidance_by_hand(groups):
    """u + s (c - u), whose u is the prior's own of no class; 1 is none and 0 is no class."""
    layout = LAYOUTS["single"]
    prior, variables = built("transformer", layout)
    labels, examples = np.array([0, 2, 1]), np.array([5, 1, 8])
    known = np.full((3, layout.length), -1, np.int32)
    known[:, :2] = [[1, 2], [3, 4], [5, 6]]

    def drawn(scale, labels=labels):
        draw = lambda v: sample(prior, v, labels, examples, 4, Sampling(guidance=scale), known, groups)  # noqa: E731
        return np.asarray(jax.jit(draw)(variables))

    def order():
        keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(4), n), layout.length) for n in examples]
        return np.asarray(orders.known_first(known, jnp.stack(keys)))

    class Guided(Prior):
        def __call__(self, codes, labels, keys=None, order=None, groups=None):
            c = prior.apply(variables, codes, labels, order=order, groups=groups)
            u = prior.apply(variables, codes, jnp.full_like(labels, CLASSES), order=order, groups=groups)
            return u + 2.5 * (c - u)

    expected = by_hand(Guided(layout, CLASSES, jnp.float32), {}, labels, noisy(4, examples, K), known, groups, order())
    guided = drawn(2.5)
    np.testing.assert_array_equal(guided, expected)
    plain = jax.jit(lambda v: sample(prior, v, labels, examples, 4, ANCESTRAL, known, groups))(variables)
    np.testing.assert_array_equal(drawn(1.0), plain)
    np.testing.assert_array_equal(drawn(0.0), drawn(1.0, np.full(3, CLASSES)))
    assert np.any(guided != plain)


@pytest.mark.more
def test_known_codes_are_first_in_the_order_and_untouched():
    layout = LAYOUTS["single"]
    prior, variables = built("transformer", layout)
    codes, labels = inputs(layout, 3)
    known = np.where(np.random.default_rng(0).random(codes.shape) < 0.5, codes, -1)
    for groups in (None, (4, 4, 4)):
        draw = jax.jit(
            lambda v, seed, groups=groups: sample(prior, v, labels, labels, seed, known=known, groups=groups)
        )
        drawn = np.asarray(draw(variables, 0))
        np.testing.assert_array_equal(drawn[known >= 0], codes[known >= 0])
        assert np.any(np.asarray(draw(variables, 1)) != drawn)
    np.testing.assert_array_equal(sample(prior, variables, labels, labels, 0, known=codes, num_known=12), codes)


@pytest.mark.parametrize("width, heads", [(16, 3), (16, 8), (30, 5), (2, 4)])
def test_heads_that_do_not_divide_the_width_are_refused(width, heads):
    message = f"^config.model.transformer.heads={heads}: expected heads of a multiple of 4 numbers; .*width={width}$"
    with pytest.raises(InputError, match=message):
        made("transformer", LAYOUTS["single"], width=width, heads=heads)


@pytest.mark.more
def test_parameters_by_hand():
    """Width F, 4 layers: a block has q, out and an MLP of 4 F; three times keys and values, one of them shared."""
    f = 16
    block = 2 * f * f + 2 * 4 * f * f
    expected = 4 * block + 3 * 2 * f * f + (CLASSES + 1) * f
    for title, table, head in (("single", K, K), ("depth", 2 * K, 2 * K), ("levels", 2 * K - 2, 2 * K)):
        layout = LAYOUTS[title]
        _, variables = built("transformer", layout, layers=4)
        found = sum(leaf.size for leaf in jax.tree.leaves(variables))
        assert found == expected + (table + layout.length + head) * f


def test_a_new_transformer_sees_no_codes():
    """Its output projections are 0 at first: blocks add nothing."""
    layout = CodeLayout((Level("codes", (3, 3), 50),))
    prior = made("transformer", layout)
    codes, labels = inputs(layout)
    variables = jax.jit(prior.init)(jax.random.key(0), codes, labels)
    for name, module in variables["params"].items():
        for projection in ("out", "down"):
            if projection in module:
                assert not np.any(module[projection]["kernel"]), name
    logits = logits_of(prior, variables, codes, 0 * labels)
    np.testing.assert_array_equal(logits[0], logits[1])


@pytest.mark.more
def test_logits_on_an_accelerator_are_those_on_a_cpu():
    layout = LAYOUTS["single"]
    prior, variables = built("transformer", layout)
    codes, labels = inputs(layout)
    network = functools.partial(prior.apply, order=shuffled(layout), groups=(5, 7))
    expected = network(variables, codes, labels)
    found = as_on("cuda", network)(variables, codes, labels)
    np.testing.assert_allclose(found, expected, atol=1e-5)
