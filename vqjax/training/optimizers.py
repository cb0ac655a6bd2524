"""Optimizers and the schedules of their learning rate, from Optax."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from vqjax.config.annotations import Decay, Natural, OneOf, Range, Rate
from vqjax.config.check import Section, build, check_value
from vqjax.config.schedules import SCHEDULES, Schedule, ScheduleConfig
from vqjax.system.errors import InputError

Epsilon = Annotated[float, Range(1e-16, 1)]
WeightDecay = Annotated[float, Range(0, 100)]
_MIN_CLIP_NORM = 1e-6  # a gradient that is clipped to less is lost


def adam(learning_rate: Schedule, b1: Decay, b2: Decay, eps: Epsilon) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015)."""
    return optax.adam(learning_rate, b1, b2, eps)


def amsgrad(learning_rate: Schedule, b1: Decay, b2: Decay, eps: Epsilon) -> optax.GradientTransformation:
    """AMSGrad (Reddi et al. 2018, alg. 2) with Adam's bias corrections after the maximum, PyTorch's order.

    `optax.amsgrad` corrects before the maximum, which gives the first gradient full weight and never forgets it.
    """

    def correction(count):
        return jnp.sqrt(1 - b2 ** (count + 1)) / (1 - b1 ** (count + 1))

    return optax.chain(
        optax.scale_by_amsgrad(b1, b2, eps, bias_correction_mu=False, bias_correction_nu=False),
        optax.scale_by_schedule(correction),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: Schedule, b1: Decay, b2: Decay, eps: Epsilon, weight_decay: WeightDecay
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019), which decays kernels only."""
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=_named("kernel"))


def sgd(
    learning_rate: Schedule, momentum: Decay, nesterov: bool, weight_decay: WeightDecay
) -> optax.GradientTransformation:
    """Gradient descent with momentum; the decay is added to the gradient of kernels, and only of kernels."""
    decay = optax.add_decayed_weights(weight_decay, _named("kernel"))
    return optax.chain(decay, optax.sgd(learning_rate, momentum, nesterov))


def _named(name: str) -> Callable[[Any], Any]:
    """A mask of the parameters of that name."""
    return lambda params: jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == name, params)


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": adam,
    "amsgrad": amsgrad,
    "adamw": adamw,
    "sgd": sgd,
}


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Fields of `config.optimizer` that are not an entry's own."""

    name: str
    learning_rate: Annotated[float, Range(1e-9, 1e6)]
    schedule: Annotated[str, OneOf(SCHEDULES)]
    final_learning_rate: Annotated[float, Range(0, 1e6)]
    warmup: Natural
    clip_norm: Annotated[float, Range(0, 1e6)]
    codebook_rate: Annotated[float, Range(1e-3, 1e6)] = 30.0
    warmup_share: Rate = 0.0


def create_optimizer(section: Section, steps: int) -> tuple[optax.GradientTransformation, Schedule]:
    """Create the optimizer of `config.optimizer`, and its learning rate as a function of the step.

    The rate rises linearly over `warmup` steps, or over the share `warmup_share` of the run's `steps`, and then follows
    the schedule to `final_learning_rate` over the rest. Gradients are clipped to the global norm `clip_norm`, if that
    is not 0. A codebook that is trained by its gradient learns `codebook_rate` times as fast as the rest.
    """
    fields: OptimizerConfig = section.own(OptimizerConfig, OPTIMIZERS)
    if 0 < fields.clip_norm < _MIN_CLIP_NORM:
        raise InputError(
            f"{section.key}.clip_norm={fields.clip_norm}: expected 0, for none, or at least {_MIN_CLIP_NORM}"
        )
    schedule = _schedule(fields, section.key, _warmup_steps(fields, section.key, steps), steps)
    optimizer = build(OPTIMIZERS, section, "name", learning_rate=schedule)
    if fields.clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(fields.clip_norm), optimizer)
    if fields.codebook_rate != 1:
        optimizer = optax.chain(optimizer, optax.masked(optax.scale(fields.codebook_rate), _named("codebook")))
    return optimizer, schedule


def _warmup_steps(fields: OptimizerConfig, key: str, steps: int) -> int:
    """Number of steps of linear rise, fewer than all. Raises InputError for fields that are at odds."""
    if fields.warmup and fields.warmup_share:
        given = f"{key}.warmup={fields.warmup} and {key}.warmup_share={fields.warmup_share:.4g}"
        raise InputError(f"{given}: expected one of them, and 0 for the other")
    if fields.warmup >= steps:
        share = f"or --{key}.warmup_share, a share of all steps"
        raise InputError(f"{key}.warmup={fields.warmup}: expected less than config.steps={steps}, {share}")
    return fields.warmup or min(round(fields.warmup_share * steps), steps - 1)


def _schedule(fields: OptimizerConfig, key: str, warmup: int, steps: int) -> Schedule:
    """Learning rate as a function of the step."""
    peak, rest = fields.learning_rate, steps - warmup
    ramp_fields = {"schedule": fields.schedule, "start": peak, "end": fields.final_learning_rate, "share": 1.0}
    ramp = check_value(ramp_fields, ScheduleConfig, f"{key}.schedule")
    schedule = lambda step: ramp(step / rest)  # noqa: E731
    if not warmup:
        return schedule
    rise = optax.linear_schedule(0.0, peak, warmup)
    joined: Schedule = optax.join_schedules([rise, schedule], [warmup])
    return joined
