"""Checkpoints of a run. The only importer of Orbax.

<step>/{model,optimizer,window}    variables, Optax's state, the metrics' running mean
<step>/record                      JSON: the step, the steps skipped, the monitored figure, checksums of all leaves;
                                   older ones lack it
"""

import contextlib
import dataclasses
import functools
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqjax.config.plain import differences
from vqjax.runs import checksums, finite
from vqjax.runs.checkpoint_record import CheckpointRecord
from vqjax.runs.pins import pinned
from vqjax.runs.state import TrainState, zeros_like_tree
from vqjax.system.errors import InputError
from vqjax.system.files import WriteError, read_json, wrap_write_errors


@functools.cache
def _orbax() -> Any:
    """Its import takes a quarter of a second, for which a new run need not wait before it has anything to save."""
    import orbax.checkpoint
    import orbax.checkpoint.checkpoint_managers

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs a paragraph per save, and what it raises as well
    # Of the reads that fail together when a checkpoint is damaged, Orbax raises one error. The others are reported from
    # other threads when its event loop has gone, at any time until the process ends.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda error: str(error.exc_value) == "Event loop is closed" or unraisable(error)
    return orbax.checkpoint


@dataclasses.dataclass(frozen=True)
class _Pinned:
    """Orbax's policy for those that have a pin when it is decided: one may come while the run is trained on."""

    directory: Path

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = {*pinned(self.directory).values()}
        return [checkpoint.step in steps for checkpoint in checkpoints]


_COUNTS = ("step", "skipped", "consecutive_skips")  # fields of the state
_BROKEN = (OSError, ValueError, TypeError, KeyError, AttributeError)  # what reading a damaged JSON file may raise


class ShapeMismatch(InputError):
    """A checkpoint of a model with other leaves than those that are expected."""


class Damaged(InputError):
    """A checkpoint that cannot be read or is not what was saved."""


class Checkpoints:
    """The latest two checkpoints of a run, the best one by the monitored figure where that is known, and the pinned.

    The pins lie beside the directory, see `vqjax.runs.pins`.

    Those who write ask for the directory to be made (`create`), and set damaged checkpoints aside. To the others it is
    an InputError if there is none; to all, if there are none although some were saved.

    What was saved is read again, and an older one goes only after that.
    """

    def __init__(self, directory: Path, create: bool = False):
        self.directory = directory
        if create:
            with wrap_write_errors(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
        elif not self.directory.is_dir():
            raise InputError(f"{self.directory}: expected a checkpoint, found none")
        self._quarantine_damaged(create)
        self._needed = 0  # bytes of the latest save
        steps = {int(path.name) for path in self._there()}
        self._saved = CheckpointRecord(
            directory.with_name("saved.json"), steps, {*filter(self._recorded, steps)}, create
        )
        self._unread: tuple[int, Any] | None = None  # a step that is saved, and the structure of its optimizer state

    @functools.cached_property
    def _manager(self) -> Any:
        policies = _orbax().checkpoint_managers
        keep = [
            policies.LatestN(n=2),
            policies.BestN(get_metric_fn=_monitored, reverse=True, n=1, keep_checkpoints_without_metrics=False),
            _Pinned(self.directory.with_name("pins")),
        ]
        options = _orbax().CheckpointManagerOptions(
            best_fn=_monitored,
            best_mode="min",
            preservation_policy=policies.AnyPreservationPolicy(keep),
            create=False,
            multiprocessing_options=_alone(),
        )
        return _orbax().CheckpointManager(self.directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if "_manager" not in vars(self):  # nothing was read or saved
            return
        if kind is None:
            self._settle()
        with self._writing():
            self._manager.close()

    @property
    def steps(self) -> list[int]:
        """On disk, from the newest to the oldest."""
        return sorted(self._manager.all_steps(), reverse=True) if self._there() else []  # of none, without Orbax

    @property
    def latest(self) -> int | None:
        """The newest step on disk."""
        return next(iter(self.steps), None)

    @property
    def best_or_latest(self) -> int | None:
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

        Raises InputError if the state is not finite; Unwritten if this one, or the one before, cannot be written.
        """
        finite.check_finite(state, f"{self.directory}: step {int(state.step)} is not saved, as it is")
        items = {"model": state.variables, "optimizer": state.opt_state, "window": dict(window)}
        # A figure that is not finite must not pass for the best: nothing compares as less than NaN.
        metrics = None if monitored is None or not np.isfinite(monitored) else {"monitored": float(monitored)}
        record: dict[str, Any] = {**{name: int(getattr(state, name)) for name in _COUNTS}, "metrics": metrics}
        record["leaves"] = {name: checksums.checksums(tree) for name, tree in items.items()}
        arguments = {name: _orbax().args.StandardSave(tree) for name, tree in items.items()}
        arguments["record"] = _orbax().args.JsonSave(checksums.with_checksum(record))
        self._settle()
        if not self._needed:  # the first of this run
            self._clear()
        if int(state.step) in self.steps:  # now with the figure that was missing
            self._manager.delete(int(state.step))
        self._needed = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(items))
        with self._writing():
            saved = self._manager.save(int(state.step), args=_orbax().args.Composite(**arguments), metrics=metrics)
        if not saved:
            raise RuntimeError(f"Orbax did not save step {int(state.step)} in {self.directory}")
        self._unread = int(state.step), zeros_like_tree(state.opt_state)

    def _clear(self) -> None:
        """Removes what is left of saves that were cut off, or found the disk full."""
        for path in self.directory.glob("*.orbax-checkpoint-tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def wait_until_finished(self) -> int | None:
        """The newest step on disk, when every save is there. Raises Unwritten if one cannot be."""
        self._settle()
        return self.latest

    def _settle(self) -> None:
        """Waits for what was saved last, and reads it; sets it aside if it is not on disk as it was saved.

        Raises Unwritten.
        """
        with self._writing():
            self._manager.wait_until_finished()
        if self._unread is None:
            return
        (step, optimizer), self._unread = self._unread, None
        try:
            self._read(step, _items(optimizer))
        except Damaged as error:
            _set_aside(self.directory / str(step), str(error))
            self._manager.reload()
        else:
            self._saved.note(step)

    def _there(self) -> list[Path]:
        return [path for path in self.directory.iterdir() if path.name.isdecimal()]

    def _recorded(self, step: int) -> bool:
        return (self.directory / str(step) / "record").exists()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """While entered, what Orbax and TensorStore say of a full disk and the like, each in its way, is Unwritten."""
        try:
            yield
        except Exception as error:
            found = re.search(r"os_error_code='(\d+)'", str(error))
            number = error.errno if isinstance(error, OSError) else found and int(found[1])
            if not number:
                raise
            raise WriteError(self.directory, OSError(number, os.strerror(number)), self._needed) from error

    def restore(self, target: TrainState) -> tuple[TrainState, dict]:
        """The latest state that is whole, and metrics' running mean; damaged ones after it are set aside, with a line.

        Args:
          target: a state whose leaves have the shapes and dtypes to expect.

        Raises:
          InputError: there is no checkpoint, none is whole, it is not finite, or has leaves of other shapes or dtypes.
        """
        step, restored, damaged = self._whole(self.steps, _items(zeros_like_tree(target.opt_state)))
        for other, error in damaged.items():
            _set_aside(self.directory / str(other), str(error))
        if self._saved.step is not None and self._saved.step > max([step, *damaged]):
            print(f"{self.directory}: step {self._saved.step:,}, which was saved, is gone; step {step:,} is used")
        self._manager.reload()
        variables, counts = dict(restored["model"]), {name: np.int32(restored["record"][name]) for name in _COUNTS}
        state = TrainState(params=variables.pop("params"), extra=variables, opt_state=restored["optimizer"], **counts)
        _check_leaves(state, target, f"{self.directory}/{step}")
        return state, restored["window"]

    def _whole(self, steps: Sequence[int], items: dict[str, Any]) -> tuple[int, dict[str, Any], dict[int, Damaged]]:
        """The first of the steps that is whole, its items, and what is wrong with those before. Raises InputError."""
        damaged: dict[int, Damaged] = {}
        for step in steps:
            try:
                return step, self._read(step, items), damaged
            except Damaged as error:
                damaged[step] = error
        if len(damaged) == 1:
            raise damaged.popitem()[1]
        if damaged:
            raise InputError(
                f"{next(iter(damaged.values()))}\nnone of the others is whole: {', '.join(map(str, damaged))}"
            )
        raise InputError(f"{self.directory}: expected a checkpoint, found none")

    def is_intact(self, expected: Any) -> bool:
        """Whether the model of the newest and the chosen step can be read, and is what was saved; for `expected` see
        `restore_variables`.
        """
        try:
            for step in {self.latest or 0, self.best_or_latest or 0}:
                found = self._read(step, {"model": _orbax().args.StandardRestore()})
                _check_leaves(found["model"], expected, f"{self.directory}/{step}")
        except Damaged:
            return False
        return True

    def _quarantine_damaged(self, writing: bool) -> None:
        """Sees that the monitored figures can be read, on which Orbax insists: a step whose figure is damaged is set
        aside, or if nothing is to be written, or no other is left, an InputError.
        """
        steps = self._there()
        damaged = {path: error for path in steps if (error := _wrong_figure(path))}
        for path, error in damaged.items():
            if not writing or len(damaged) == len(steps):
                raise InputError(error)
            _set_aside(path, error)

    def restore_variables(self, expected: Any, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """The step and the variables {"params", collection, ...} of a checkpoint.

        Args:
          expected: variables of the names, shapes and dtypes of the run's model.
          step: of the checkpoint; by default the chosen one.

        Raises:
          InputError: there is no such checkpoint, it is damaged or not finite, or it is of another model.
        """
        if step is not None and step not in self.steps:
            kept = ", ".join(map(str, reversed(self.steps)))
            raise InputError(f"--step={step}: no such checkpoint in {self.directory}\nKept: {kept}")
        likely = [] if self.best_or_latest is None else [self.best_or_latest]
        steps = list(dict.fromkeys([*likely, *self.steps])) if step is None else [step]
        step, restored, damaged = self._whole(steps, {"model": _orbax().args.StandardRestore()})
        for error in damaged.values():
            print(f"{error}; step {step} is used")
        _check_leaves(restored["model"], expected, f"{self.directory}/{step}")
        return step, restored["model"]

    def _read(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        """The items of a step, as they were saved, and its record. Raises Damaged."""
        recorded = self._recorded(step)
        arguments = {**items, "record": _orbax().args.JsonRestore()} if recorded else items
        try:
            if not recorded and step not in self._saved.bare:
                raise ValueError("it has no record")
            restored = dict(self._manager.restore(step, args=_orbax().args.Composite(**arguments)).items())
            older = {**dict.fromkeys(_COUNTS, 0), "step": step}
            record: dict[str, Any] = checksums.verified(restored["record"]) if recorded else older
            if record["step"] != step:
                raise ValueError(f"it is that of step {record['step']}")
            for name in items if recorded else ():
                checksums.check_checksums(name, restored[name], record["leaves"][name])
        except Exception as error:  # of damaged files Orbax raises errors of many kinds
            reason = (str(error) or type(error).__name__).partition("\n")[0][:200]
            raise Damaged(f"{self.directory}/{step} cannot be read: {reason}") from error
        return {**restored, "record": record}


def _set_aside(path: Path, error: str) -> None:
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns()}")
    path.rename(aside)
    print(f"{error}; set aside as {aside.name}")


def _wrong_figure(path: Path) -> str:
    """What is wrong with the monitored figure of a step, "" if nothing is."""
    file, record = path / "metrics" / "metrics", path / "record" / "metadata"
    try:
        found = {"monitored": float(read_json(file)["monitored"])} if file.exists() else None
    except _BROKEN as error:
        return f"{file} cannot be read: {error}"
    try:
        expected = checksums.verified(read_json(record))["metrics"]
    except _BROKEN:  # an older one without it; or it is said when the step is restored
        return ""
    return "" if found == expected else f"{path} cannot be read: its monitored figure is not what was saved"


def _monitored(metrics: Mapping[str, float] | None) -> float:
    return metrics["monitored"] if metrics else float("inf")


def _items(optimizer: Any) -> dict[str, Any]:
    """What to restore; `optimizer` has the structure, the shapes and the dtypes of its state."""
    items = {"model": _orbax().args.StandardRestore(), "optimizer": _orbax().args.StandardRestore(optimizer)}
    return {**items, "window": _orbax().args.StandardRestore()}


def _alone() -> Any:
    """Orbax as in a process of its own: of several that train together, the one that leads has the whole state."""
    if jax.process_count() == 1:
        return _orbax().options.MultiprocessingOptions()
    alone = jax.process_index()
    return _orbax().options.MultiprocessingOptions(
        primary_host=alone, active_processes={alone}, barrier_sync_key_prefix=f"process{alone}"
    )


def _check_leaves(state: Any, target: Any, where: str) -> None:
    """Raises InputError unless both trees have leaves of the same names, shapes and dtypes, and `state` is finite."""

    def kinds(tree: Any) -> dict[str, str]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}" for path, leaf in leaves}

    for name, (found, expected) in differences(kinds(state), kinds(target)).items():
        raise ShapeMismatch(f"{where}: {name} is {found or 'missing'}, expected {expected or 'nothing of that name'}")
    finite.check_finite(state, f"{where} is")
