"""Pace of a run: its first steps are timed, for an estimate of when it ends."""

import time
from typing import Any

import jax

_STEPS = 50  # that are timed
_LONG = 3_600  # seconds that a run must have left, for its end to be worth a line


class Pace:
    """Times the first steps after the one that compiles.

    It waits for the metrics of two steps, so that what is timed has been computed and not only been dispatched.
    """

    def __init__(self, steps: int):
        """`steps` of the whole run."""
        self._steps, self._excluded = steps, 0.0
        self._started: tuple[int, float] | None = None
        self._finished = False

    def exclude(self, seconds: float) -> None:
        """Leave out time that is not that of steps, but of an evaluation."""
        self._excluded += seconds

    def after(self, step: int, metrics: Any) -> str | None:
        """Return the estimate, once, if the run takes long; None otherwise.

        Args:
          step: number of steps so far.
          metrics: of the latest, on the devices.
        """
        if self._finished:
            return None
        if self._started is None:
            jax.block_until_ready(metrics)
            self._started, self._excluded = (step, time.perf_counter()), 0.0
            return None
        first, since = self._started
        if step - first < _STEPS:
            return None
        jax.block_until_ready(metrics)
        self._finished = True
        return _line(step - first, time.perf_counter() - since - self._excluded, self._steps - step)


def _line(count: int, seconds: float, remaining: int) -> str | None:
    """The estimate of a run with so many steps left, after `count` steps in so many seconds; None if it is short."""
    expected = seconds / count * remaining
    if expected <= _LONG:
        return None
    end = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + expected))
    return (
        f"{count} steps took {seconds:.3g} s: the {remaining:,} that are left take about {expected / 3600:,.1f} hours, "
        f"to {end}; evaluations come on top"
    )
