"""The metrics between two logged lines."""

import collections
from collections.abc import Mapping

import jax
import numpy as np

from vqjax.runs.devices import DeviceLayout, max_in_flight
from vqjax.runs.metrics import RunningMean, summarize

_MAX_ON_DEVICES = 128  # steps, about, whose metrics stay on the devices


class MetricsAccumulator:
    """The metrics since the last logged line: on the devices until they are asked for, then summed on the host.

    Skipped steps are counted, and their metrics left out.
    """

    def __init__(self, program: DeviceLayout, state: Mapping | None):
        """Continue from a `state` of another accumulator, or begin with nothing."""
        self._program, self._mean = program, RunningMean(state)
        self._pending: collections.deque[tuple[Mapping[str, jax.Array], int]] = collections.deque()

    def add(self, metrics: Mapping[str, jax.Array], steps: int = 1) -> None:
        """Add the metrics of a step, or those (L, ...) of a chunk of L steps of which the first `steps` were taken.

        Waits for metrics that were added as long ago as steps may be in flight.
        """
        self._pending.append((metrics, steps))
        ahead = max_in_flight()
        if len(self._pending) > ahead:
            jax.block_until_ready(self._pending[-1 - ahead][0]["skipped"])
        if sum(steps for _, steps in self._pending) > _MAX_ON_DEVICES:
            self._fetch(ahead)

    def _fetch(self, pending: int) -> None:
        """Sum all but the latest `pending` on the host."""
        finished = [self._pending.popleft() for _ in range(len(self._pending) - pending)]
        collected = self._program.collect([metrics for metrics, _ in finished])
        for metrics, (_, steps) in zip(collected, finished):
            is_chunk = np.ndim(metrics["skipped"]) > 0
            for i in range(steps):
                self._add_step({name: x[i] for name, x in metrics.items()} if is_chunk else metrics)

    def _add_step(self, metrics: Mapping[str, np.ndarray]) -> None:
        if metrics["skipped"]:
            self._mean.add({"skipped": np.ones(())}, count=0)
        else:
            self._mean.add({name: x for name, x in metrics.items() if name != "skipped"})

    def state(self) -> dict:
        """Return the sums so far, for the checkpoint."""
        self._fetch(0)
        return self._mean.state

    def latest(self) -> dict[str, float]:
        """Return the figures so far, without waiting for steps in flight."""
        self._fetch(max_in_flight())
        return summarize(self._mean.means()) if self._mean.count else {}

    def close(self) -> dict[str, float]:
        """Return the figures, with the number of `skipped` steps if there are any, and begin again with nothing."""
        self._fetch(0)
        mean, self._mean = self._mean, RunningMean()
        skipped = int(mean.sums.pop("skipped", 0))
        return {**summarize(mean.means()), **({"skipped": skipped} if skipped else {})}
