"""Options of drawing from a prior, and the program that draws a batch."""

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict, get_type_hints

import jax
import jax.numpy as jnp

from vqjax.codes import Codes
from vqjax.config.annotations import Seed
from vqjax.config.check import check_value
from vqjax.inference import functions
from vqjax.networks.priors import Prior
from vqjax.networks.priors.requests import check_guidance
from vqjax.networks.priors.sampling import Sampling
from vqjax.system.errors import InputError, did_you_mean
from vqjax.tasks.prior import PriorTask


class DrawOptions(TypedDict, total=False):
    """Options of drawing, all of which may be left out.

    Attributes:
      seed: of the noise, from 0 to 2**32 - 1 (0).
      temperature: divides the logits (1).
      top_k: draw among so many codes, the most probable; 0: among all (0).
      top_p: draw among the most probable codes that have this probability together (1).
      guidance: s, by which the logits are u + s (c - u), c given the class and u without; 1 is c (1).
      steps: in which an image's codes are drawn, several at once if they are fewer than the codes (one by one).
      batch: images that are drawn at a time; they do not depend on it (chosen by their size).
    """

    seed: int
    temperature: float
    top_k: int
    top_p: float
    guidance: float
    steps: int | None
    batch: int | None


class Steps(NamedTuple):
    """Steps in which an image's codes are drawn.

    Attributes:
      groups: numbers of codes that are drawn together, those that are known first; None for one by one.
      nats: to be expected per code that is drawn, by the prior's own distribution; None for one by one.
      one_by_one: the same where each step draws one code, in random orders; None for one by one.
    """

    groups: tuple[int, ...] | None = None
    nats: float | None = None
    one_by_one: float | None = None


_SAMPLING: dict[str, Callable] = {"temperature": float, "top_k": operator.index, "top_p": float, "guidance": float}


def check_options(options: Mapping[str, Any], prior: Prior) -> tuple[Sampling, int]:
    """Return the distribution to draw from, and the seed.

    Raises TypeError for an option of another name or type, InputError for one that is out of range.
    """
    for name in options:
        if name not in DrawOptions.__annotations__:
            raise TypeError(f"{name} is unknown.{did_you_mean(name, DrawOptions.__annotations__)}")
    hints = get_type_hints(Sampling, include_extras=True)
    given = {name: convert(options[name]) for name, convert in _SAMPLING.items() if name in options}
    sampling = Sampling(**{name: check_value(value, hints[name], f"--{name}") for name, value in given.items()})
    if sampling.top_k > prior.layout.max_codes:
        raise InputError(f"--top_k={sampling.top_k}: expected at most the {prior.layout.max_codes} codes of stage 1")
    check_guidance(prior, sampling.guidance, "--guidance")
    return sampling, check_value(operator.index(options.get("seed", 0)), Seed, "--seed")


@dataclasses.dataclass(frozen=True)
class DrawBatch:
    """Function that draws a batch: two that are equal are compiled once.

    Attributes:
      priors: whose codes are drawn, each given those of the ones before it.
      sampling: distribution that they are drawn from.
      groups: numbers of codes that are drawn together; None: one by one.
      num_known: number of codes of the first prior that are known in every row, at most.
    """

    priors: tuple[PriorTask, ...]
    sampling: Sampling
    groups: tuple[int, ...] | None
    num_known: int

    def __call__(self, fixed: Mapping[str, Any], rows: Mapping[str, jax.Array]) -> tuple[Codes, jax.Array]:
        """Draw codes and images (B, H, W, C) in [0, 1].

        Args:
          fixed: variables of the "priors", and of "stage1".
          rows: `label`, `example`, maybe `known`, and `seed`, the same in every row, (B, ...) each.
        """
        seed, drawn = rows["seed"][0], None
        for prior, variables in zip(self.priors, fixed["priors"]):
            given = {**rows, **known_before(prior.layout.length, drawn, rows.get("known"))}
            drawn = prior.sample(variables, given, seed, self.sampling, self.groups, self.num_known)
        codes = self.priors[-1].layout.unflatten(drawn)
        return codes, functions.decode(self.priors[-1].stage1.task, fixed["stage1"], codes)


def known_before(length: int, drawn: jax.Array | None, known: jax.Array | None) -> dict[str, jax.Array]:
    """Return `known` (B, length) of a prior: codes that are drawn already, and then those that were known before.

    Args:
      length: number of codes that the prior sees.
      drawn: codes of the levels before, (B, n).
      known: codes (B, L) that are kept, -1 where one is drawn; None: none.
    """
    if drawn is None:
        return {} if known is None else {"known": known[:, :length]}
    start = drawn.shape[1]
    rest = jnp.full((len(drawn), length - start), -1) if known is None else known[:, start:length]
    return {"known": jnp.concatenate([drawn, rest], axis=1)}
