"""Drawing codes from a prior: temperature, top-k, top-p, and noise that belongs to the sample."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from vqjax.config.annotations import Natural, Range
from vqjax.networks.priors.base import Prior


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The distribution that is drawn from, made of the prior's own.

    Attributes:
      temperature: divides the logits, before anything is left out.
      top_k: how many codes may be drawn, the most probable; 0 for all.
      top_p: the most probable codes that together have at least this probability may be drawn (Holtzman et al. 2020).
    """

    temperature: Annotated[float, Range(1e-6)] = 1.0
    top_k: Natural = 0
    top_p: Annotated[float, Range(0, 1, open_min=True)] = 1.0


ANCESTRAL = Sampling()  # the prior's own distribution


def truncate(logits: jax.Array, sampling: Sampling) -> jax.Array:
    """The logits (B, K) of the distribution that is drawn from; -inf for the codes that are left out.

    Of codes that are equally probable the first is taken for the more probable.
    """
    logits = logits / sampling.temperature
    if not sampling.top_k and sampling.top_p == 1:
        return logits
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    if sampling.top_k:
        ranked = jnp.where(jnp.arange(ranked.shape[-1]) < sampling.top_k, ranked, -jnp.inf)
    p = jax.nn.softmax(ranked)
    ahead = jnp.cumsum(p, axis=-1) - p  # the probability of the codes before each
    ranked = jnp.where(ahead < sampling.top_p, ranked, -jnp.inf)
    return jnp.take_along_axis(ranked, jnp.argsort(order, axis=-1), axis=-1)


def noise(seed: int | jax.Array, examples: jax.Array, position: jax.Array, num_codes: int) -> jax.Array:
    """Standard Gumbel noise (B, K) of the samples numbered `examples` at a position in raster order."""

    def one(example: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), example), position)
        return jax.random.gumbel(key, (num_codes,))

    return jax.vmap(one)(examples)


def sample(
    prior: Prior,
    variables: Mapping,
    labels: jax.Array,
    examples: jax.Array,
    seed: int | jax.Array,
    sampling: Sampling = ANCESTRAL,
) -> jax.Array:
    """Draw codes (B, L) from a prior; traceable.

    A code is the largest of the truncated logits plus noise, which is a draw from their softmax. The noise depends on
    the seed, the sample and the position alone, so that the same sample comes out of any batch on any device.

    Args:
      prior: an entry of PRIORS, built.
      variables: what it is applied with.
      labels: (B,).
      examples: (B,) numbers of the samples.
      seed: of the noise.
      sampling: what is drawn from.
    """

    def draw(logits: jax.Array, position: jax.Array) -> jax.Array:
        return jnp.argmax(truncate(logits, sampling) + noise(seed, examples, position, prior.layout.max_codes), axis=-1)

    with jax.default_matmul_precision("highest"):  # the same logits as the whole network's, on every device
        codes: Any = prior.apply(variables, labels, draw, method="sample")
    return codes
