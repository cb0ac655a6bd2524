"""Optimizers and the schedules of their learning rate, from Optax."""

import dataclasses
from typing import Any, Callable

import jax
import optax
from ml_collections import ConfigDict

from vqjax.config import Decay, Natural, NonNegativeFloat, PositiveFloat, build, check_fields

Schedule = Callable[[Any], Any]


def constant(peak: float, steps: int) -> Schedule:
    """`peak` throughout."""
    return optax.constant_schedule(peak)


def cosine(peak: float, steps: int, final: NonNegativeFloat) -> Schedule:
    """Half a cosine from `peak` to `final` over `steps`."""
    return optax.cosine_decay_schedule(peak, steps, alpha=final / peak)


SCHEDULES = {"constant": constant, "cosine": cosine}


def adam(learning_rate: Schedule, b1: Decay, b2: Decay, eps: PositiveFloat) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015)."""
    return optax.adam(learning_rate, b1, b2, eps)


def amsgrad(learning_rate: Schedule, b1: Decay, b2: Decay, eps: PositiveFloat) -> optax.GradientTransformation:
    """AMSGrad (Reddi et al. 2018)."""
    return optax.amsgrad(learning_rate, b1, b2, eps)


def adamw(
    learning_rate: Schedule, b1: Decay, b2: Decay, eps: PositiveFloat, weight_decay: NonNegativeFloat
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019), which decays kernels only."""
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=_kernels)


def _kernels(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


OPTIMIZERS = {"adam": adam, "amsgrad": amsgrad, "adamw": adamw}


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """The fields of `config.optimizer` that are not an entry's own."""

    name: str
    schedule: str
    learning_rate: PositiveFloat
    warmup: Natural
    clip: NonNegativeFloat


def make(config: ConfigDict) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimizer of `config.optimizer` and its learning rate as a function of the step.

    The rate rises linearly over `warmup` steps and then follows the schedule over the rest of
    `config.steps`. Gradients are clipped to the global norm `clip`, if that is not 0.
    """
    tables = {*OPTIMIZERS, *SCHEDULES}
    own = {k: v for k, v in config.optimizer.items() if k not in tables}
    settings = Optimizer(**check_fields(Optimizer, own, "config.optimizer"))
    peak, steps = settings.learning_rate, max(1, config.steps - settings.warmup)
    schedule = build(SCHEDULES, config, "optimizer.schedule", peak=peak, steps=steps)
    if settings.warmup:
        rise = optax.linear_schedule(0.0, peak, settings.warmup)
        schedule = optax.join_schedules([rise, schedule], [settings.warmup])
    optimizer = build(OPTIMIZERS, config, "optimizer.name", learning_rate=schedule)
    if settings.clip:
        optimizer = optax.chain(optax.clip_by_global_norm(settings.clip), optimizer)
    return optimizer, schedule
