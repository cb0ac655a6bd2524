"""Every prior of the table: what it may see, that cached sampling is the whole network's, and what it keeps."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import more_but, slow_but
from helpers import as_on
from priors import (
    CLASSES,
    LAYOUTS,
    K,
    built,
    by_hand,
    cases,
    inputs,
    known_codes,
    logits_of,
    noisy,
    samples_of,
    sees,
    shuffled,
)
from priors import prior as made

from vqjax.codes import CodeLayout, Level, single_level
from vqjax.networks.priors import PRIORS
from vqjax.networks.priors.base import Prior
from vqjax.networks.priors.gated_layer import GatedLayer
from vqjax.networks.priors.sampling import ANCESTRAL, sample
from vqjax.ops.winograd import is_faster
from vqjax.system.errors import InputError

WINOGRAD_WIDTH = 80  # so wide that a CPU convolves by Winograd's way
CASES = list(cases())
ANY = [(name, title) for name, title in CASES if made(name, LAYOUTS[title]).any_order]


def one_of_each(cases):
    """Parameters, of which all but the priors over several levels are behind the mark `slow`."""
    return [pytest.param(*case, marks=() if case[1] == "levels" else pytest.mark.slow) for case in cases]


def influence(prior, variables, order=None, groups=None):
    """(L, L) bool: whether the logits at the row's place depend on the embedding of the code at the column's.

    The codes of a codebook are all different, so that the gradient of each row of the table is that of one place. They
    are dealt out in three ways: in one, all ReLUs on a path may be 0.
    """
    layout = prior.layout
    level, depth, *_ = layout.coordinates.T
    books = np.unique(99 * level + depth, return_inverse=True)[1]
    sizes = [each.num_codes for each in layout.levels for _ in range(each.depth)]
    offsets = (np.cumsum(sizes) - sizes)[books]
    weights = jax.random.normal(jax.random.key(3), (layout.length, layout.max_codes))

    def logit(table, codes, place):
        params = {**variables["params"], "embedding": {"embedding": table}}
        labels = jnp.zeros(1, jnp.int32)
        logits = prior.apply({"params": params}, codes[None], labels, order=order, groups=groups)[0]
        return jnp.sum(jnp.where(jnp.isneginf(logits), 0, weights * logits), axis=-1)[place]

    table = variables["params"]["embedding"]["embedding"]
    gradients = jax.jit(jax.vmap(jax.grad(logit), (None, None, 0)))
    seen = np.zeros((layout.length, layout.length), bool)
    for rng in map(np.random.default_rng, range(3)):
        codes = np.zeros(layout.length, np.int32)
        for book in np.unique(books):
            codes[books == book] = rng.permutation(np.sum(books == book))
        found = gradients(table, codes, np.arange(layout.length))  # (L, table, F)
        seen |= np.asarray(jnp.any(found != 0, axis=-1))[:, codes + offsets]
    return seen


@pytest.mark.more
@pytest.mark.parametrize("grid", slow_but((3, 6), [(5, 5), (3, 6), (6, 2), (1, 5)]))
@pytest.mark.parametrize("name", PRIORS)
def test_logits_depend_on_every_earlier_place_and_on_no_other(name, grid):
    """On grids that the receptive field of four layers covers: exactly 0 from j on, not 0 before."""
    count = grid[0] * grid[1]
    seen = influence(*built(name, single_level(grid, count), layers=4))
    np.testing.assert_array_equal(seen, np.tri(count, count, -1, bool))


WIDE = {
    "single": single_level((3, 3), 9),
    "depth": single_level((2, 2), 4, 2),
    "levels": CodeLayout((Level("top", (1, 2), 2), Level("bottom", (2, 2), 4, 2))),
}


@pytest.mark.more
@pytest.mark.parametrize("groups", [None, (2, 1, 3)])
@pytest.mark.parametrize("raster", [True, False])
@pytest.mark.parametrize("name, title", one_of_each(ANY))
def test_logits_depend_on_the_groups_before_in_every_order(name, title, raster, groups):
    layout = WIDE[title]
    groups = groups and (*groups, layout.length - sum(groups))
    order = None if raster else shuffled(layout, 1)
    seen = influence(*built(name, layout, layers=4), order, groups)
    np.testing.assert_array_equal(seen, sees(None if raster else order[0], groups, layout.length))


@pytest.mark.more
@pytest.mark.parametrize("width", more_but(8, [8, WINOGRAD_WIDTH]))
@pytest.mark.parametrize("layers", more_but(3, [1, 3]))
def test_the_receptive_field_of_a_pixelcnn_has_no_blind_spot(layers, width):
    """Rows above: 3 and one more per later layer, to both sides as far; in the row: as far to the left."""
    grid, reach = (9, 11), 3 + layers - 1
    assert is_faster((2, 3, width, 2 * width), grid, jnp.float32) == (width == WINOGRAD_WIDTH)
    i, j = np.divmod(np.arange(99), 11)
    above, aside = i[:, None] - i, j[:, None] - j
    expected = (above > 0) & (above <= reach) & (np.abs(aside) <= reach)
    expected |= (above == 0) & (aside > 0) & (aside <= reach)
    network = built("pixelcnn", single_level(grid, 99), layers=layers, width=width)
    np.testing.assert_array_equal(influence(*network), expected)


THREE = {
    "single": single_level((2, 3), 3),
    "depth": single_level((1, 3), 3, 2),
    "levels": CodeLayout((Level("top", (1, 2), 2), Level("bottom", (2, 2), 3))),
}
SQUARE = {"single": single_level((3, 3), 3)}


@pytest.mark.parametrize(
    "name, layout",
    [
        *(
            pytest.param(name, THREE[title], marks=() if title == "levels" else pytest.mark.more)
            for name, title in CASES
        ),
        *(pytest.param(name, layout, marks=pytest.mark.slow) for name in PRIORS for layout in SQUARE.values()),
    ],
)
def test_the_probabilities_of_all_sequences_sum_to_1(name, layout):
    """In every order and grouping, for each of the codes that are given; and each is above 0."""
    prior, variables = built(name, layout)
    sequences = np.array(list(itertools.product(*(range(k) for k in layout.num_codes))), np.int32)
    labels, modeled = np.full(len(sequences), CLASSES - 1, np.int32), sequences[:, prior.modeled]
    num_given = np.prod(layout.num_codes[: prior.modeled.start], initial=1)
    tried = [(None, None)]
    if prior.any_order:
        some = (2, 1, layout.length - 3)
        tried += itertools.product((None, shuffled(layout, 1)), (None, some, (layout.length,)))
    for order, groups in tried:
        order = None if order is None else np.repeat(order, len(sequences), axis=0)
        logits = logits_of(prior, variables, sequences, labels, order=order, groups=groups)
        p = np.take_along_axis(jax.nn.softmax(logits), modeled[..., None], axis=-1)[..., 0].astype(float).prod(1)
        assert p.min() > 0
        np.testing.assert_allclose(p.reshape(num_given, -1).sum(1), 1, rtol=1e-5)


KINDS = ("nothing", "a prefix", "prefixes", "holes", "all")
GROUPS = (None, (1, 2, 2), (3, 1))


@pytest.mark.more
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name, title", CASES)
def test_cached_sampling_is_that_of_the_whole_network(name, title, kind):
    """Code for code, for any known codes, groups and order: the prior's own way, the contract's, and by hand."""
    layout = LAYOUTS[title]
    prior, variables = built(name, layout, layers=4)
    known, labels, examples = known_codes(prior, kind), np.array([0, 1, 2]), np.array([4, 0, 9])
    draw = noisy(7, examples, layout.max_codes)
    plans = [(None, None)]
    if prior.any_order:
        plans += [(groups and (*groups, layout.length - sum(groups)), shuffled(layout, 3)) for groups in GROUPS]
    for groups, order in plans:
        expected = by_hand(prior, variables, labels, draw, known, groups, order)
        for method in (type(prior).sample, Prior.sample):
            codes = samples_of(prior, variables, labels, draw, known, groups, order, method=method)
            np.testing.assert_array_equal(codes, expected)
        np.testing.assert_array_equal(expected[known >= 0], known[known >= 0])
    assert kind == "all" or len(np.unique(expected)) > 3


@pytest.mark.more
@pytest.mark.parametrize("name, title", one_of_each(ANY))
def test_groups_that_are_known_in_every_row_are_read_at_once(name, title):
    """The codes are the same, and those groups are not drawn."""
    layout = LAYOUTS[title]
    prior, variables = built(name, layout)
    codes, labels = inputs(layout, 3)
    order, groups = shuffled(layout, 3), (2, 3, 1, layout.length - 6)
    known = np.full_like(codes, -1)
    for row in range(3):
        known[row, order[row, :5]] = codes[row, order[row, :5]]
    plain = noisy(7, labels, layout.max_codes)
    counted = []

    def draw(logits, places):
        counted.append(logits.shape)
        return plain(logits, places)

    for method in (type(prior).sample, Prior.sample):
        results, draws = [], []
        for num_known in (0, 4, 5):
            counted.clear()
            results.append(samples_of(prior, variables, labels, draw, known, groups, order, num_known, method=method))
            draws.append(len(counted))
        np.testing.assert_array_equal(results[1], results[0])
        np.testing.assert_array_equal(results[2], results[0])
        assert draws == [4, 3, 2]
    whole = samples_of(prior, variables, labels, draw, codes, groups, order, layout.length)
    np.testing.assert_array_equal(whole, codes)


@pytest.mark.more
@pytest.mark.parametrize(
    "fields, grid",
    [
        *[pytest.param({}, grid, marks=pytest.mark.slow) for grid in ((5, 5), (6, 2), (1, 5), (4, 1))],
        ({}, (3, 6)),
        pytest.param({"width": WINOGRAD_WIDTH}, (5, 5), marks=pytest.mark.more),
    ],
)
@pytest.mark.parametrize("name", PRIORS)
def test_the_logits_of_cached_sampling_are_the_whole_networks(name, fields, grid):
    layout = single_level(grid, K)
    prior, variables = built(name, layout, layers=4, **fields)
    codes, labels = inputs(layout, 3)
    seen = {}

    def force(logits, places):
        jax.debug.callback(lambda place, x: seen.update({int(place[0]): np.asarray(x)}), places, logits)
        return jnp.take_along_axis(jnp.asarray(codes), places[:, None], axis=1)[:, 0]

    forced = samples_of(prior, variables, labels, force)
    jax.effects_barrier()
    np.testing.assert_array_equal(forced, codes)
    whole = np.asarray(logits_of(prior, variables, codes, labels))
    stepwise = np.stack([seen[place] for place in range(layout.length)], axis=1)
    np.testing.assert_allclose(stepwise, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.more
@pytest.mark.parametrize("name", more_but("transformer", PRIORS))
def test_a_sample_is_the_same_in_any_batch(name):
    layout = LAYOUTS["single"]
    prior, variables = built(name, layout)
    draw = jax.jit(lambda labels, examples: sample(prior, variables, labels, examples, 7, ANCESTRAL))
    codes = draw(np.array([0, 1, 2]), np.array([4, 0, 9]))
    np.testing.assert_array_equal(draw(np.array([2, 0]), np.array([9, 4])), codes[np.array([2, 0])])


@pytest.mark.more
@pytest.mark.parametrize("name", more_but("pixelcnn", PRIORS))
def test_the_class_matters_only_to_a_conditional_prior(name):
    layout = LAYOUTS["single"]
    codes, labels = inputs(layout)
    for classes in (CLASSES, 0):
        prior, variables = built(name, layout, num_classes=classes)
        logits = [logits_of(prior, variables, codes, (labels + shift) % CLASSES) for shift in (0, 1)]
        changed = np.any(logits[0] != logits[1], axis=-1)
        assert np.all(changed == bool(classes))
        drawn = jax.jit(lambda v, prior=prior: sample(prior, v, labels, labels, 0, ANCESTRAL))(variables)
        assert drawn.shape == (2, layout.length)


@pytest.mark.more
@pytest.mark.parametrize("name", PRIORS)
def test_dropout_belongs_to_the_example(name):
    """Its share of the activations, the same whatever else is in the batch; none without keys."""
    layout = LAYOUTS["single"]
    prior, variables = built(name, layout, dropout=0.5, num_classes=0)
    codes, labels = inputs(layout, 4)
    keys = jax.random.split(jax.random.key(5), 4)
    network = jax.jit(prior.apply)
    dropped = network(variables, codes, labels, keys)
    np.testing.assert_allclose(dropped[1:2], network(variables, codes[1:2], labels[1:2], keys[1:2]), atol=1e-5)
    assert np.all(np.any(dropped != network(variables, codes, labels, keys[::-1]), axis=(1, 2)))
    without = network(variables, codes, labels)
    np.testing.assert_array_equal(without, jax.jit(prior.copy(dropout=0.0).apply)(variables, codes, labels, keys))
    assert np.all(np.any(dropped != without, axis=(1, 2)))


@pytest.mark.more
@pytest.mark.parametrize("name", more_but("transformer", PRIORS))
def test_half_precision(name):
    """bfloat16 inside, float32 parameters and logits, near those of float32; sampling runs."""
    layout = LAYOUTS["single"]
    codes, labels = inputs(layout)
    prior, variables = built(name, layout)
    half, _ = built(name, layout, jnp.bfloat16)
    logits, expected = (logits_of(each, variables, codes, labels) for each in (half, prior))
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.1 * np.abs(expected).max())
    assert np.any(logits != expected)
    fresh = jax.eval_shape(half.init, jax.random.key(0), codes, labels)
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
    drawn = jax.jit(lambda v: sample(half, v, labels, labels, 0, ANCESTRAL))(variables)
    assert drawn.dtype == jnp.int32 and np.all((drawn >= 0) & (drawn < K))


def test_a_pixelcnn_refuses_what_it_cannot_do():
    """In one line each: other layouts, orders and groups."""
    with pytest.raises(InputError, match="^config.model.pixelcnn: expected codes on one grid, one per position; found"):
        made("pixelcnn", LAYOUTS["depth"])
    with pytest.raises(InputError, match="^config.model.pixelcnn: expected the codes of images, found 2 x 3 x 4 codes"):
        made("pixelcnn", single_level((2, 3, 4), K))
    prior, variables = built("pixelcnn", LAYOUTS["single"])
    codes, labels = inputs(LAYOUTS["single"])
    draw = noisy(0, labels, K)
    refused = "^a PixelCNN takes codes one by one in raster order: expected no other order or groups"
    for given in ({"order": shuffled(LAYOUTS["single"])}, {"groups": (2,) + (1,) * 10}):
        with pytest.raises(InputError, match=refused):
            prior.apply(variables, codes, labels, **given)
        with pytest.raises(InputError, match=refused):
            prior.apply(variables, labels, draw, **given, method="sample")
    np.testing.assert_array_equal(
        prior.apply(variables, codes, labels, groups=(1,) * 12), prior.apply(variables, codes, labels)
    )


def test_logits_on_an_accelerator_are_those_on_a_cpu():
    prior, variables = built("pixelcnn", single_level((4, 5), K), layers=4)
    codes, labels = inputs(single_level((4, 5), K))
    expected = prior.apply(variables, codes, labels)
    elsewhere = as_on("cuda", prior.apply)
    assert str(jax.make_jaxpr(elsewhere)(variables, codes, labels)).count("conv_general_dilated[") == 8
    np.testing.assert_allclose(elsewhere(variables, codes, labels), expected, atol=1e-5)


def test_a_layer_of_a_pixelcnn_by_hand():
    """Eq. 4 in both stacks; the horizontal one sees what the vertical one was before its gate, and its own input."""
    width, labels, rng = 2, np.array([2, 0]), np.random.default_rng(0)
    layer = GatedLayer(width, False, CLASSES, False, 0.0, jnp.float32)
    above, left, here = (rng.normal(size=(2, *size, width)) for size in ((4, 7), (3, 6), (3, 5)))

    def call(layer, above, left, here, labels):
        v, across = layer.vertical(above, layer.condition(labels, None))
        return v, layer.horizontal(left, here, across)

    variables = layer.init(jax.random.key(0), above, left, here, labels, method=call)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape), variables)
    found = layer.apply(variables, above, left, here, labels, method=call)

    p = variables["params"]
    gate = lambda x: np.tanh(x[..., :width]) / (1 + np.exp(-x[..., width:]))  # noqa: E731
    dense = lambda x, of: x @ of["kernel"] + of["bias"]  # noqa: E731
    shifted = [(i, j, above[:, i : i + 3, j : j + 5]) for i in range(2) for j in range(3)]
    x = sum(rows @ p["above"]["kernel"][i, j] for i, j, rows in shifted) + p["above"]["bias"]
    row = sum(left[:, :, j : j + 5] @ p["left"]["kernel"][0, j] for j in range(2)) + p["left"]["bias"]
    of_class = p["classes"]["embedding"][labels][:, None, None]
    horizontal = here + dense(gate(row + dense(x, p["across"]) + of_class), p["residual"])
    np.testing.assert_allclose(found[0], gate(x + of_class), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], horizontal, rtol=1e-4, atol=1e-5)


def test_parameters_of_a_pixelcnn_by_hand():
    """Width F, classes C: 2 F outputs from 21 F above (mask A, rows above alone) or 6 F, and from 3 F or 2 F left."""
    f, classes, head = 8, CLASSES, 16
    shared = (2 * f * 2 * f + 2 * f) + (f * f + f) + classes * 2 * f  # across, residual, classes
    first = (21 * f * 2 * f + 2 * f) + (3 * f * 2 * f + 2 * f) + shared
    later = (6 * f * 2 * f + 2 * f) + (2 * f * 2 * f + 2 * f) + shared
    expected = K * f + first + 3 * later + (f * head + head) + (head * K + K)
    _, variables = built("pixelcnn", single_level((4, 4), K), layers=4)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected
