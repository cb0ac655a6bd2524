"""Numbers as functions of how far the run is, from Optax: learning rates, temperatures, weights of a loss."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import optax

from vqjax.config.annotations import OneOf, Range, Weight

Schedule = Callable[[Any], Any]


def constant(start: float, end: float, steps: float) -> Schedule:
    """`start` throughout."""
    return optax.constant_schedule(start)


def linear(start: float, end: float, steps: float) -> Schedule:
    """A straight line from `start` to `end` over `steps`, then `end`."""
    return optax.linear_schedule(start, end, steps)


def cosine(start: float, end: float, steps: float) -> Schedule:
    """Half a cosine from `start` to `end` over `steps`, then `end`."""
    fall = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: end + (start - end) * fall(step)


def exponential(start: float, end: float, steps: float) -> Schedule:
    """`start` (end / start) ** (step / steps), then `end`; both above 0."""
    return optax.exponential_decay(start, steps, end / start, end_value=end)


SCHEDULES = {"constant": constant, "linear": linear, "cosine": cosine, "exponential": exponential}


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """A schedule whose length is a share of the run; in a config, a dict of these fields.

    Attributes:
      schedule: an entry of SCHEDULES.
      start: the value when the run begins.
      end: the value from `share` of the run on.
      share: of the run.
    """

    schedule: Annotated[str, OneOf(SCHEDULES)]
    start: Weight
    end: Weight
    share: Annotated[float, Range(1e-6, 1)]

    def __post_init__(self):
        if self.schedule == "exponential" and not min(self.start, self.end) > 0:
            raise ValueError(f"an exponential from {self.start} to {self.end}: expected both greater than 0")

    def __call__(self, progress: Any) -> Any:
        """The value when `progress`, a number from 0 to 1, of the run is done."""
        return SCHEDULES[self.schedule](self.start, self.end, self.share)(progress)
