"""Samples of a prior: temperature, top-k, top-p, guidance, and noise that belongs to the sample."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from vqjax.config.annotations import Natural, Range
from vqjax.networks.priors import orders
from vqjax.networks.priors.base import Draw, Prior
from vqjax.ops.argmax import argmax


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Distribution that codes are drawn from, made of the prior's own.

    Attributes:
      temperature: divides the logits, before any code is left out.
      top_k: number of codes that may be drawn, the most probable ones; 0 for all.
      top_p: probability that the codes which may be drawn have together, at least (Holtzman et al. 2020).
      guidance: s of `guide`, before the temperature; 1 for none.
    """

    temperature: Annotated[float, Range(1e-6)] = 1.0
    top_k: Natural = 0
    top_p: Annotated[float, Range(0, 1, open_min=True)] = 1.0
    guidance: Annotated[float, Range(0, 100)] = 1.0


ANCESTRAL = Sampling()  # the prior's own distribution


def guide(conditional: jax.Array, unconditional: jax.Array, scale: float) -> jax.Array:
    """Return u + s (c - u), the logits of classifier-free guidance (Ho & Salimans 2022) in which s = 1 is none.

    Args:
      conditional: c, logits (..., K) given the class.
      unconditional: u, logits (..., K) given no class; -inf where c has it.
      scale: s.
    """
    return jnp.where(jnp.isneginf(conditional), -jnp.inf, unconditional + scale * (conditional - unconditional))


def truncate(logits: jax.Array, sampling: Sampling) -> jax.Array:
    """Return the logits (B, K) of the distribution that is drawn from, -inf for the codes that are left out.

    Of codes that are equally probable the first counts as the more probable.
    """
    logits = logits / sampling.temperature
    if not sampling.top_k and sampling.top_p == 1:
        return logits
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    if sampling.top_k:
        ranked = jnp.where(jnp.arange(ranked.shape[-1]) < sampling.top_k, ranked, -jnp.inf)
    p = jax.nn.softmax(ranked)
    ahead = jnp.cumsum(p, axis=-1) - p  # probability of the codes before each
    ranked = jnp.where(ahead < sampling.top_p, ranked, -jnp.inf)
    return jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)


def noise(seed: int | jax.Array, examples: jax.Array, places: jax.Array, num_codes: int) -> jax.Array:
    """Return standard Gumbel noise (B, K) of the samples numbered `examples` (B,) at their places, (B,) or ()."""

    def draw_one(example: jax.Array, place: jax.Array) -> jax.Array:
        return jax.random.gumbel(_key(seed, example, place), (num_codes,))

    return jax.vmap(draw_one)(examples, jnp.broadcast_to(places, examples.shape))


def _key(seed: int | jax.Array, example: jax.Array, place: Any) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), example), place)


def sample(
    prior: Prior,
    variables: Mapping,
    labels: jax.Array,
    examples: jax.Array,
    seed: int | jax.Array,
    sampling: Sampling = ANCESTRAL,
    known: jax.Array | None = None,
    groups: Sequence[int] | None = None,
    num_known: int = 0,
) -> jax.Array:
    """Return codes (B, L) drawn from a prior; traceable.

    Without known codes and groups the order is the raster's; with them, in a prior that can take any order, known codes
    come first, then the others in an order that belongs to the sample. A code is the largest of the truncated logits
    plus noise, a draw from their softmax. Noise and order depend on the seed and the sample's number alone, so that a
    sample is the same in any batch on any device.

    Args:
      prior: an entry of PRIORS, built.
      variables: what it is applied with.
      labels: (B,).
      examples: numbers of the samples, (B,).
      seed: of the noise and the order.
      sampling: distribution that is drawn from. Guidance needs a prior that `has_no_class`.
      known: codes (B, L) that are kept, -1 where one is drawn.
      groups: numbers of codes that are drawn together, along the order; they sum to L. None for one by one.
      num_known: number of codes that are known in every row, at most: they are read at once.
    """
    order = None
    if prior.any_order and not (known is None and groups is None):
        order = _order(examples, seed, prior.layout.length, known)
    draw = _draw(examples, seed, sampling)
    if sampling.guidance != 1:
        draw = _guided(draw, sampling.guidance)
        labels = jnp.concatenate([labels, jnp.full_like(labels, prior.num_classes)])
        known, order = (None if rows is None else jnp.tile(rows, (2, 1)) for rows in (known, order))
    with jax.default_matmul_precision("highest"):  # the same logits as the whole network's, on every device
        codes: Any = prior.apply(variables, labels, draw, known, groups, order, num_known, method="sample")
    return codes[: len(examples)]


def _order(examples: jax.Array, seed: int | jax.Array, length: int, known: jax.Array | None) -> jax.Array:
    kept = jnp.full((len(examples), length), -1) if known is None else known
    return orders.known_first(kept, jax.vmap(lambda example: _key(seed, example, length))(examples))


def _draw(examples: jax.Array, seed: int | jax.Array, sampling: Sampling) -> Draw:
    def draw(logits: jax.Array, places: jax.Array) -> jax.Array:
        return argmax(truncate(logits, sampling) + noise(seed, examples, places, logits.shape[-1]))

    return draw


def _guided(draw: Draw, scale: float) -> Draw:
    """Return the draw for a batch twice: first given the classes, then given none; both halves get the same codes."""

    def guided(logits: jax.Array, places: jax.Array) -> jax.Array:
        conditional, unconditional = jnp.split(logits, 2)
        return jnp.tile(draw(guide(conditional, unconditional, scale), places[: len(conditional)]), 2)

    return guided
