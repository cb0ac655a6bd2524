"""The metrics between two logged lines."""

import collections
from collections.abc import Mapping

import jax
import numpy as np

from vqjax.runs.devices import DeviceLayout, max_in_flight
from vqjax.runs.metrics import RunningMean, summarize

_KEPT = 128  # steps, about, whose metrics stay on the devices


class MetricsAccumulator:
    """The metrics since the last logged line: on the devices until they are asked for, then summed on the host.

    Those of skipped steps are counted only.
    """

    def __init__(self, program: DeviceLayout, state: Mapping | None):
        self._program, self._mean = program, RunningMean(state)
        self._pending: collections.deque[tuple[Mapping[str, jax.Array], int]] = collections.deque()

    def add(self, metrics: Mapping[str, jax.Array], steps: int = 1) -> None:
        """Adds a step's metrics, or those (L, ...) of L steps of which some were taken.

        Waits for what was added as long ago as may be in flight.
        """
        self._pending.append((metrics, steps))
        ahead = max_in_flight()
        if len(self._pending) > ahead:
            jax.block_until_ready(self._pending[-1 - ahead][0]["skipped"])
        if sum(steps for _, steps in self._pending) > _KEPT:
            self._settle(ahead)

    def _settle(self, pending: int) -> None:
        done = [self._pending.popleft() for _ in range(len(self._pending) - pending)]
        collected = self._program.collect([metrics for metrics, _ in done])
        for metrics, (_, steps) in zip(collected, done):
            several = np.ndim(metrics["skipped"]) > 0
            for i in range(steps):
                self._add({name: x[i] for name, x in metrics.items()} if several else metrics)

    def _add(self, metrics: Mapping[str, np.ndarray]) -> None:
        """A step's, on the host."""
        if metrics["skipped"]:
            self._mean.add({"skipped": np.ones(())}, count=0)
        else:
            self._mean.add({name: x for name, x in metrics.items() if name != "skipped"})

    def state(self) -> dict:
        """The sums so far, for the checkpoint."""
        self._settle(0)
        return self._mean.state

    def latest(self) -> dict[str, float]:
        """The figures of the window so far, without waiting."""
        self._settle(max_in_flight())
        return summarize(self._mean.means()) if self._mean.count else {}

    def close(self) -> dict[str, float]:
        """The figures of the window, with how many steps were `skipped` if any were; a new one begins."""
        self._settle(0)
        mean, self._mean = self._mean, RunningMean()
        skipped = int(mean.sums.pop("skipped", 0))
        return {**summarize(mean.means()), **({"skipped": skipped} if skipped else {})}
