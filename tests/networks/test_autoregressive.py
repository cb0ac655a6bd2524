"""Every prior of the table: what it may see, and that cached sampling is the whole network's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL_PRIORS, slow_but
from helpers import as_on

from configs import prior as base
from vqjax.config.check import Section, build
from vqjax.networks.priors import PRIORS
from vqjax.networks.priors.base import Prior
from vqjax.networks.priors.pixelcnn import _Layer
from vqjax.ops.winograd import is_faster
from vqjax.tasks.sampling import ANCESTRAL, noise, sample

K, CLASSES = 11, 3
WINOGRAD_WIDTH = 80  # so wide that a CPU convolves by Winograd's way


def built(name, grid, dtype=jnp.float32, num_classes=CLASSES, **fields):
    """An entry of PRIORS, small, and variables for it with nothing left at 0."""
    config = base.get_config()
    config.model.prior = name
    config.model[name].update({**SMALL_PRIORS.get(name, {}), "layers": 4, "dropout": 0.0, **fields})
    given = {"num_codes": K, "num_classes": num_classes, "grid": grid, "dtype": dtype}
    prior = build(PRIORS, Section.of(config, "config.model"), "prior", **given)
    variables = prior.init(jax.random.key(0), jnp.zeros((1, *grid), jnp.int32), jnp.zeros((1,), jnp.int32))
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return prior, jax.tree.unflatten(tree, [x + 0.1 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves)])


def inputs(grid, batch=2):
    codes = jax.random.randint(jax.random.key(2), (batch, *grid), 0, K)
    return codes, jnp.arange(batch) % CLASSES


def influence(prior, variables, grid):
    """(h w, h w) bool: whether the logits at the row's position depend on the embedding at the column's."""
    codes, labels = inputs(grid, 1)
    x = prior.apply(variables, codes, method="embed")
    weights = jax.random.normal(jax.random.key(3), (1, *grid, K))

    def logit(x, position):
        logits = prior.apply(variables, x, labels, method="predict")
        return jnp.sum((weights * logits).reshape(-1, K)[position])

    positions = jnp.arange(grid[0] * grid[1])
    gradients = jax.jit(jax.vmap(jax.grad(logit), (None, 0)))(x, positions)  # (h w, 1, h, w, F)
    return np.asarray(jnp.any(gradients.reshape(len(positions), len(positions), -1) != 0, axis=-1))


@pytest.mark.parametrize("grid", slow_but((3, 6), [(5, 5), (3, 6), (6, 2), (1, 5)]))
@pytest.mark.parametrize("name", PRIORS)
def test_logits_depend_on_every_earlier_position_and_on_no_other(name, grid):
    """On grids that the receptive field of four layers covers: exactly 0 from j on, not 0 before."""
    count = grid[0] * grid[1]
    np.testing.assert_array_equal(influence(*built(name, grid), grid), np.tri(count, count, -1, bool))


@pytest.mark.parametrize("width", [8, WINOGRAD_WIDTH])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_receptive_field_of_a_pixelcnn_has_no_blind_spot(layers, width):
    """Rows above: 3 and one more per later layer, to both sides as far; in the row: as far to the left."""
    grid, reach = (9, 11), 3 + layers - 1
    assert is_faster((2, 3, width, 2 * width), grid, jnp.float32) == (width == WINOGRAD_WIDTH)
    i, j = np.divmod(np.arange(99), 11)
    above, aside = i[:, None] - i, j[:, None] - j
    expected = (above > 0) & (above <= reach) & (np.abs(aside) <= reach)
    expected |= (above == 0) & (aside > 0) & (aside <= reach)
    np.testing.assert_array_equal(influence(*built("pixelcnn", grid, layers=layers, width=width), grid), expected)


@pytest.mark.parametrize(
    "fields, grid",
    [
        *[pytest.param({}, grid, marks=pytest.mark.slow) for grid in ((5, 5), (6, 2), (1, 5), (4, 1))],
        *(({}, (3, 6)), ({"width": WINOGRAD_WIDTH}, (5, 5))),
    ],
)
@pytest.mark.parametrize("name", PRIORS)
def test_cached_sampling_is_that_of_the_whole_network(name, fields, grid):
    """The same codes from the same noise, and the same logits, as running the network for every position.

    The contract's own `sample`, which does that, gives them too.
    """
    prior, variables = built(name, grid, **fields)
    labels, examples, count = jnp.array([0, 1, 2]), jnp.array([4, 0, 9]), grid[0] * grid[1]
    network = jax.jit(prior.apply)
    codes = np.zeros((3, count), np.int32)
    for position in range(count):
        logits = network(variables, codes.reshape(3, *grid), labels).reshape(3, count, K)[:, position]
        codes[:, position] = np.argmax(logits + noise(7, examples, position, K), axis=-1)
    cached = jax.jit(lambda v, y, n: sample(prior, v, y, n, 7, ANCESTRAL))(variables, labels, examples)
    np.testing.assert_array_equal(cached, codes.reshape(3, *grid))
    assert len(np.unique(codes)) > 3

    def draw(logits, position):
        return jnp.argmax(logits + noise(7, examples, position, K), axis=-1)

    plain = jax.jit(lambda v, y: prior.apply(v, y, draw, method=Prior.sample))(variables, labels)
    np.testing.assert_array_equal(plain, codes.reshape(3, *grid))

    seen = {}

    def force(logits, position):
        jax.debug.callback(lambda n, x: seen.update({int(n): np.asarray(x)}), position, logits)
        return jnp.asarray(codes)[:, position]

    prior.apply(variables, labels, force, method="sample")
    jax.effects_barrier()
    whole = np.asarray(network(variables, codes.reshape(3, *grid), labels)).reshape(3, count, K)
    stepwise = np.stack([seen[position] for position in range(count)], axis=1)
    np.testing.assert_allclose(stepwise, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("name", PRIORS)
def test_the_class_matters_only_to_a_conditional_prior(name):
    grid = (3, 4)
    codes, labels = inputs(grid)
    for classes in (CLASSES, 0):
        prior, variables = built(name, grid, num_classes=classes)
        logits = [prior.apply(variables, codes, (labels + shift) % CLASSES) for shift in (0, 1)]
        changed = np.any(logits[0] != logits[1], axis=-1)
        assert np.all(changed == bool(classes))
        assert sample(prior, variables, labels, labels, 0, ANCESTRAL).shape == (2, *grid)


@pytest.mark.parametrize("name", PRIORS)
def test_dropout_belongs_to_the_example(name):
    """Its share of the activations, the same whatever else is in the batch; none without keys."""
    grid = (3, 4)
    prior, variables = built(name, grid, dropout=0.5)
    codes, labels = inputs(grid, 4)
    keys = jax.random.split(jax.random.key(5), 4)
    network = jax.jit(prior.apply)
    dropped = network(variables, codes, labels, keys)
    np.testing.assert_allclose(dropped[1:2], network(variables, codes[1:2], labels[1:2], keys[1:2]), atol=1e-5)
    assert np.all(np.any(dropped != network(variables, codes, labels, keys[::-1]), axis=(1, 2, 3)))
    without = network(variables, codes, labels)
    np.testing.assert_array_equal(without, prior.copy(dropout=0.0).apply(variables, codes, labels, keys))
    assert np.all(np.any(dropped != without, axis=(1, 2, 3)))


@pytest.mark.parametrize("name", PRIORS)
def test_half_precision(name):
    """bfloat16 inside, float32 parameters and logits, near those of float32; sampling runs."""
    grid = (3, 4)
    codes, labels = inputs(grid)
    prior, variables = built(name, grid)
    half, _ = built(name, grid, jnp.bfloat16)
    logits, expected = half.apply(variables, codes, labels), prior.apply(variables, codes, labels)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.1 * np.abs(expected).max())
    assert np.any(logits != expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.init(jax.random.key(0), codes, labels))} == {
        jnp.dtype("float32")
    }
    assert sample(half, variables, labels, labels, 0, ANCESTRAL).dtype == jnp.int32


def test_logits_on_an_accelerator_are_those_on_a_cpu():
    prior, variables = built("pixelcnn", (4, 5))
    codes, labels = inputs((4, 5))
    elsewhere = as_on("cuda", prior.apply)
    assert str(jax.make_jaxpr(elsewhere)(variables, codes, labels)).count("conv_general_dilated[") == 8
    expected = prior.apply(variables, codes, labels)
    np.testing.assert_allclose(elsewhere(variables, codes, labels), expected, atol=1e-5)


def test_a_layer_of_a_pixelcnn_by_hand():
    """Eq. 4 in both stacks; the horizontal one sees what the vertical one was before its gate, and its own input."""
    width, labels, rng = 2, np.array([2, 0]), np.random.default_rng(0)
    layer = _Layer(width, False, CLASSES, 0.0, jnp.float32)
    above, left, here = (rng.normal(size=(2, *size, width)) for size in ((4, 7), (3, 6), (3, 5)))

    def call(layer, above, left, here, labels):
        v, across = layer.vertical(above, layer.condition(labels))
        return v, layer.horizontal(left, here, across)

    variables = layer.init(jax.random.key(0), above, left, here, labels, method=call)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape), variables)
    outputs = layer.apply(variables, above, left, here, labels, method=call)

    p = variables["params"]
    gate = lambda x: np.tanh(x[..., :width]) / (1 + np.exp(-x[..., width:]))  # noqa: E731
    dense = lambda x, of: x @ of["kernel"] + of["bias"]  # noqa: E731
    shifted = [(i, j, above[:, i : i + 3, j : j + 5]) for i in range(2) for j in range(3)]
    x = sum(rows @ p["above"]["kernel"][i, j] for i, j, rows in shifted) + p["above"]["bias"]
    row = sum(left[:, :, j : j + 5] @ p["left"]["kernel"][0, j] for j in range(2)) + p["left"]["bias"]
    of_class = p["classes"]["embedding"][labels][:, None, None]
    horizontal = here + dense(gate(row + dense(x, p["across"]) + of_class), p["residual"])
    np.testing.assert_allclose(outputs[0], gate(x + of_class), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs[1], horizontal, rtol=1e-4, atol=1e-5)


def test_parameters_of_a_pixelcnn_by_hand():
    """Width F, classes C: 2 F outputs from 21 F above (mask A, rows above alone) or 6 F, and from 3 F or 2 F left."""
    f, classes, head = 8, CLASSES, 16
    shared = (2 * f * 2 * f + 2 * f) + (f * f + f) + classes * 2 * f  # across, residual, classes
    first = (21 * f * 2 * f + 2 * f) + (3 * f * 2 * f + 2 * f) + shared
    later = (6 * f * 2 * f + 2 * f) + (2 * f * 2 * f + 2 * f) + shared
    expected = K * f + first + 3 * later + (f * head + head) + (head * K + K)
    _, variables = built("pixelcnn", (4, 4))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected
