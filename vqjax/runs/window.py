"""The metrics between two logged lines."""

import collections
from collections.abc import Mapping

import jax
import numpy as np

from vqjax.runs.devices import Program, in_flight
from vqjax.runs.metrics import Mean, summarize

_KEPT = 128  # steps whose metrics stay on the devices, at most


class Window:
    """The metrics since the last logged line: on the devices until they are asked for, then summed on the host.

    Those of skipped steps are counted only.
    """

    def __init__(self, program: Program, state: Mapping | None):
        self._program, self._mean = program, Mean(state)
        self._pending: collections.deque[Mapping[str, jax.Array]] = collections.deque()

    def add(self, metrics: Mapping[str, jax.Array]) -> None:
        """Adds a step's metrics, and waits for the step as many before it as may be in flight."""
        self._pending.append(metrics)
        ahead = in_flight()
        if len(self._pending) > ahead:
            jax.block_until_ready(self._pending[-1 - ahead]["skipped"])
        if len(self._pending) > _KEPT + ahead:
            self._settle(ahead)

    def _settle(self, pending: int) -> None:
        done = [self._pending.popleft() for _ in range(len(self._pending) - pending)]
        for metrics in self._program.collect(done):
            if metrics.pop("skipped"):
                self._mean.add({"skipped": np.ones(())}, count=0)
            else:
                self._mean.add(metrics)

    def state(self) -> dict:
        """The sums so far, for the checkpoint."""
        self._settle(0)
        return self._mean.state

    def latest(self) -> dict[str, float]:
        """The figures of the window so far, without waiting."""
        self._settle(in_flight())
        return summarize(self._mean.means()) if self._mean.count else {}

    def close(self) -> dict[str, float]:
        """The figures of the window, with how many steps were `skipped` if any were; a new one begins."""
        self._settle(0)
        mean, self._mean = self._mean, Mean()
        skipped = int(mean.sums.pop("skipped", 0))
        return {**summarize(mean.means()), **({"skipped": skipped} if skipped else {})}
