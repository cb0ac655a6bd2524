"""Small priors over small layouts, for the tests of every entry of the table."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from conftest import SMALL_PRIORS

from configs import prior as base_config
from vqjax.codes import CodeLayout, Level, single_level
from vqjax.networks.priors import PRIORS
from vqjax.networks.priors.orders import ranks
from vqjax.networks.priors.sampling import noise
from vqjax.system.errors import InputError

K, CLASSES = 11, 3
LAYOUTS = {
    "single": single_level((3, 4), K),
    "depth": single_level((2, 3), K, 2),
    "levels": CodeLayout((Level("top", (1, 2), K - 2), Level("bottom", (2, 4), K))),
}


def prior(name, layout, dtype=jnp.float32, num_classes=CLASSES, **fields):
    """An entry of PRIORS, small, checked."""
    defaults = base_config.get_config().model[name].to_dict()
    fields = {**defaults, **SMALL_PRIORS.get(name, {}), "layers": 2, "dropout": 0.0, **fields}
    made = PRIORS[name](layout=layout, num_classes=num_classes, dtype=dtype, **fields)
    made.check(f"config.model.{name}")
    return made


@functools.cache
def built(name, layout, dtype=jnp.float32, num_classes=CLASSES, **fields):
    """The same, and variables for it with nothing left at 0."""
    made = prior(name, layout, dtype, num_classes, **fields)

    @jax.jit
    def variables():
        fresh = made.init(jax.random.key(0), jnp.zeros((1, layout.length), jnp.int32), jnp.zeros((1,), jnp.int32))
        leaves, tree = jax.tree.flatten(fresh)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        return jax.tree.unflatten(tree, [x + 0.1 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves)])

    return made, variables()


def cases(layouts=LAYOUTS):
    """(name, layout) of every prior and the layouts that it can do."""
    for name in PRIORS:
        for title, layout in layouts.items():
            try:
                prior(name, layout)
            except InputError:
                continue
            yield name, title


def logits_of(prior, variables, codes, labels, keys=None, order=None, groups=None):
    """The logits of the whole network, compiled."""
    return _network(prior)(variables, codes, labels, keys, order, groups=groups)


@functools.cache
def _network(prior):
    return jax.jit(prior.apply, static_argnames="groups")


def samples_of(prior, variables, labels, draw, known=None, groups=None, order=None, num_known=0, method="sample"):
    """The codes of sampling, compiled once for all labels, known codes and orders."""
    return np.asarray(_sampling(prior, draw, groups, num_known, method)(variables, labels, known, order))


@functools.cache
def _sampling(prior, draw, groups, num_known, method):
    def sampled(variables, labels, known, order):
        return prior.apply(variables, labels, draw, known, groups, order, num_known, method=method)

    return jax.jit(sampled)


def inputs(layout, batch=2, seed=2):
    """Codes (B, L) and labels (B,)."""
    codes = np.random.default_rng(seed).integers(0, layout.num_codes, (batch, layout.length)).astype(np.int32)
    return codes, np.arange(batch, dtype=np.int32) % CLASSES


def shuffled(layout, batch=2, seed=3):
    """Orders (B, L), each row another."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(layout.length) for _ in range(batch)]).astype(np.int32)


def noisy(seed, examples, num_codes):
    """Draws by noise that belongs to the sample and the place; the same function for the same numbers."""
    return _noisy(seed, tuple(map(int, examples)), num_codes)


@functools.cache
def _noisy(seed, examples, num_codes):
    return lambda logits, places: jnp.argmax(logits + noise(seed, np.array(examples), places, num_codes), axis=-1)


def known_codes(prior, kind, batch=3):
    """(B, L) codes, -1 where unknown; those that the prior is given are known."""
    layout = prior.layout
    codes, _ = inputs(layout, batch, seed=5)
    place = np.arange(layout.length)
    kept = {
        "nothing": np.zeros_like(codes, bool),
        "a prefix": np.broadcast_to(place < prior.modeled.start + layout.length // 3, codes.shape),
        "prefixes": place < np.array([0, prior.modeled.start + 2, layout.length - 1])[:, None],
        "holes": np.random.default_rng(6).random(codes.shape) < 0.5,
        "all": np.ones_like(codes, bool),
    }[kind]
    return np.where(kept | (place < prior.modeled.start), codes, -1).astype(np.int32)


def by_hand(prior, variables, labels, draw, known, groups, order):
    """Codes (B, L) of sampling as its contract says, group by group from the whole network's logits."""
    draw = jax.jit(draw)
    places = np.broadcast_to(np.arange(known.shape[1]), known.shape) if order is None else order
    codes, rows, start, first = np.maximum(known, 0), np.arange(len(known)), 0, prior.modeled.start
    for size in groups or (1,) * known.shape[1]:
        logits = np.asarray(logits_of(prior, variables, codes, labels, order=order, groups=groups))
        for place in places[:, start : start + size].T:
            drawn = draw(logits[rows, place - first], place) if start >= first else -1
            codes[rows, place] = np.where(known[rows, place] >= 0, known[rows, place], drawn)
        start += size
    return codes


def sees(order, groups, length):
    """(L, L) bool: whether the logits at the row's place may depend on the code at the column's, in one order (L,)."""
    rank = np.asarray(ranks(jnp.arange(length)[None] if order is None else order[None]))[0]
    sizes = np.array(groups or (1,) * length)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank[None, :] < starts[rank][:, None]
