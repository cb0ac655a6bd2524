"""Checkpoints of a run. The only importer of Orbax.

<step>/{model,optimizer,window}    variables, Optax's state, the metrics' running mean
<step>/skips                       JSON: how many steps were skipped; older ones lack it, and skipped none
"""

import dataclasses
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vqjax.core.config import InputError, differences
from vqjax.runs import finite
from vqjax.runs.pins import pinned
from vqjax.runs.state import TrainState

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs a paragraph per save

# Of the reads that fail together when a checkpoint is damaged, Orbax raises one error. The others are reported from
# other threads when its event loop has gone, at any time until the process ends.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
_unraisable = sys.unraisablehook
sys.unraisablehook = lambda error: str(error.exc_value) == "Event loop is closed" or _unraisable(error)


@dataclasses.dataclass(frozen=True)
class _Pinned(checkpoint_managers.PreservationPolicy):
    """Those that have a pin when it is decided: one may come while the run is trained on."""

    directory: Path

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = {*pinned(self.directory).values()}
        return [checkpoint.step in steps for checkpoint in checkpoints]


_SKIPS = ("skipped", "in_a_row")  # fields of the state


class Checkpoints:
    """The latest two checkpoints of a run, the best one by the monitored figure where that is known, and the pinned.

    The pins lie beside the directory, see `vqjax.runs.pins`.

    Raises InputError if there is no directory of checkpoints and none is to be made (`create`).
    """

    def __init__(self, directory: Path, create: bool = False):
        keep = [
            checkpoint_managers.LatestN(n=2),
            checkpoint_managers.BestN(
                get_metric_fn=_monitored, reverse=True, n=1, keep_checkpoints_without_metrics=False
            ),
            _Pinned(directory.with_name("pins")),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_monitored,
            best_mode="min",
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
            create=False,
        )
        self.directory = directory
        if create:
            self.directory.mkdir(parents=True, exist_ok=True)
        elif not self.directory.is_dir():
            raise InputError(f"{self.directory}: expected a checkpoint, found none")
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """On disk, from the newest to the oldest."""
        return sorted(self._manager.all_steps(), reverse=True)

    @property
    def latest(self) -> int | None:
        """The newest step on disk."""
        return self._manager.latest_step()

    @property
    def chosen(self) -> int | None:
        """The best step by the monitored figure if there is one, else the latest."""
        return self._manager.best_step() if self._best_known else self.latest

    @property
    def _best_known(self) -> bool:
        return any(self._manager.metrics(step) for step in self.steps)

    def save(self, state: TrainState, window: Mapping[str, Any], monitored: float | None = None) -> None:
        """Saves a state of host arrays and the metrics' running mean, in the background.

        Args:
          state: the state after `state.step` updates.
          window: `Mean.state` of the metrics since the last logged line.
          monitored: the figure that the best checkpoint has lowest, if it was measured at this step.

        Raises InputError if the state is not finite.
        """
        finite.check(state, f"{self.directory}: step {int(state.step)} is not saved, as it is")
        items = ocp.args.Composite(
            model=ocp.args.StandardSave(state.variables),
            optimizer=ocp.args.StandardSave(state.opt_state),
            window=ocp.args.StandardSave(dict(window)),
            skips=ocp.args.JsonSave({name: int(getattr(state, name)) for name in _SKIPS}),
        )
        # A figure that is not finite must not pass for the best: nothing compares as less than NaN.
        metrics = None if monitored is None or not np.isfinite(monitored) else {"monitored": float(monitored)}
        if not self._manager.save(int(state.step), args=items, metrics=metrics):
            raise RuntimeError(f"Orbax did not save step {int(state.step)} in {self.directory}")

    def wait(self) -> None:
        """Returns when every save is on disk."""
        self._manager.wait_until_finished()

    def restore(self, target: TrainState) -> tuple[TrainState, dict]:
        """The latest state and metrics' running mean.

        Args:
          target: a state whose leaves have the shapes and dtypes to expect.

        Raises:
          InputError: there is no checkpoint, it is damaged or not finite, or a leaf on disk has another shape or dtype.
        """
        step = self.latest
        if step is None:
            raise InputError(f"{self.directory}: expected a checkpoint, found none")
        items = {
            "model": ocp.args.StandardRestore(),
            "optimizer": ocp.args.StandardRestore(_host_zeros(target.opt_state)),
            "window": ocp.args.StandardRestore(),
        }
        if (self.directory / str(step) / "skips").exists():
            items["skips"] = ocp.args.JsonRestore()
        restored = self._read(step, ocp.args.Composite(**items))
        variables = dict(restored["model"])
        params, skips = variables.pop("params"), restored["skips"] if "skips" in items else {}
        counts = {name: np.int32(skips.get(name, 0)) for name in _SKIPS}
        state = TrainState(np.int32(step), params, variables, restored["optimizer"], **counts)
        _check_leaves(state, target, f"{self.directory}/{step}")
        return state, restored["window"]

    def restore_variables(self, expected: Any, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """The step and the variables {"params", collection, ...} of a checkpoint.

        Args:
          expected: variables of the names, shapes and dtypes of the run's model.
          step: of the checkpoint; by default the chosen one.

        Raises:
          InputError: there is no such checkpoint, it is damaged or not finite, or it is of another model.
        """
        step = self.chosen if step is None else step
        if step is None:
            raise InputError(f"{self.directory}: expected a checkpoint, found none")
        if step not in self.steps:
            kept = ", ".join(map(str, reversed(self.steps)))
            raise InputError(f"--step={step}: no such checkpoint in {self.directory}\nKept: {kept}")
        variables = self._read(step, ocp.args.Composite(model=ocp.args.StandardRestore()))["model"]
        _check_leaves(variables, expected, f"{self.directory}/{step}")
        return step, variables

    def _read(self, step: int, items: ocp.args.Composite) -> Mapping[str, Any]:
        try:
            return self._manager.restore(step, args=items)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise InputError(f"{self.directory}/{step} cannot be read: {reason}") from error


def _monitored(metrics: Mapping[str, float] | None) -> float:
    return metrics["monitored"] if metrics else float("inf")


def _host_zeros(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)


def _check_leaves(state: Any, target: Any, where: str) -> None:
    """Raises InputError unless both trees have leaves of the same names, shapes and dtypes, and `state` is finite."""

    def kinds(tree: Any) -> dict[str, str]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}" for path, leaf in leaves}

    for name, (found, expected) in differences(kinds(state), kinds(target)).items():
        raise InputError(f"{where}: {name} is {found or 'missing'}, expected {expected or 'nothing of that name'}")
    finite.check(state, f"{where} is")
