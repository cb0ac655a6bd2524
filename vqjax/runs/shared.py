"""A run's directory as all of its processes see it: reads are broadcast, writes are the leader's."""

import contextlib
from collections.abc import Mapping
from typing import Any

from vqjax.runs.devices import processes
from vqjax.runs.state import TrainState, zeros_like_tree
from vqjax.runs.workdir import Facts, Workdir


def shared_facts(workdir: Workdir) -> Facts | None:
    """Facts of the run in the leader's workdir; None if it has not begun."""
    facts = processes.broadcast_json(workdir.facts() if workdir.has_facts else None)
    return None if facts is None else Facts(facts)


def shared_variables(workdir: Workdir, step: int | None, expected: Any) -> tuple[int, Any]:
    """The step and the variables of a checkpoint in the leader's workdir; see `Workdir.restore_variables`."""
    variables = zeros_like_tree(expected)
    if processes.is_leader():
        step, variables = workdir.restore_variables(expected, step)
    return int(processes.broadcast_json(step)), processes.broadcast_arrays(variables)


class SharedCheckpoints:
    """Checkpoints of a run that is trained; see `vqjax.runs.checkpoints` for what is kept."""

    def __init__(self, workdir: Workdir):
        self._workdir, self._stack = workdir, contextlib.ExitStack()
        self._own: Any = None  # the leader's

    def __enter__(self) -> "SharedCheckpoints":
        if processes.is_leader():
            self._own = self._stack.enter_context(self._workdir.checkpoints(create=True))
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    @property
    def latest(self) -> int | None:
        """The newest step on disk."""
        step: int | None = processes.broadcast_json(self._own and self._own.latest)
        return step

    @property
    def best_or_latest(self) -> int | None:
        """The best step by the monitored metric if there is one, else the latest."""
        step: int | None = processes.broadcast_json(self._own and self._own.best_or_latest)
        return step

    def restore(self, target: TrainState) -> tuple[TrainState, Mapping[str, Any] | None]:
        """Restore the latest state that is intact, and to the leader the sums of metrics since its last logged line."""
        state, sums = zeros_like_tree(target), None
        if self._own:
            state, sums = self._own.restore(target)
        return processes.broadcast_arrays(state), sums

    def is_intact(self, expected: Any) -> bool:
        """Whether the models of the newest and of the best step are what was saved."""
        return bool(processes.broadcast_json(self._own and self._own.is_intact(expected)))

    def save(self, state: TrainState, sums: Mapping[str, Any], monitored: float | None) -> None:
        """Save a state of host arrays and the sums of metrics since the last logged line, in the background."""
        if self._own:
            self._own.save(state, sums, monitored)

    def wait_until_finished(self) -> int | None:
        """The newest step on disk, when every save is there; None elsewhere than in the leader."""
        return self._own.wait_until_finished() if self._own else None
