"""The checkpoints of a run: a directory per step.

<step>/{model,optimizer,window}    variables, Optax's state, the running mean of the metrics
<step>/record                      see `vqjax.runs.checkpoints.record`
<step>.corrupt-<time>              a damaged one, kept aside
"""

import functools
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.config.plain import differences
from vqjax.runs import finite
from vqjax.runs.checkpoints.checksums import array_checksums, check_arrays
from vqjax.runs.checkpoints.pins import pinned
from vqjax.runs.checkpoints.record import Damaged, Record, read_record, write_record
from vqjax.runs.checkpoints.retention import best_step, kept_steps
from vqjax.runs.checkpoints.saved import SavedStep
from vqjax.runs.checkpoints.storage import Storage
from vqjax.runs.state import TrainState, leaf_types, zeros_like_tree
from vqjax.system.errors import InputError
from vqjax.system.files import wrap_write_errors

_COUNTS = ("step", "skipped", "consecutive_skips")  # fields of the state that are in the record


class ShapeMismatch(InputError):
    """A checkpoint of a model with other leaves than those that are expected."""


class Checkpoints:
    """The latest two checkpoints of a run, the best one by the monitored figure if that is known, and the pinned.

    A save is read back before an older checkpoint is deleted. A writer (`create`) sets damaged checkpoints aside; a
    reader passes over them. Both say so in a line.
    """

    def __init__(self, directory: Path, create: bool = False, described: Mapping[str, str] | None = None):
        """Args:
          directory: of the checkpoints; the pins and saved.json lie beside it.
          create: make it if it is not there, and set damaged checkpoints aside.
          described: {file name: checksum} of the files that say what the run is. They go into each record, and
            checkpoints with others are refused.

        Raises:
          InputError: there is no directory and none is to be made; all checkpoints are damaged, or all are gone.
          WriteError: the directory cannot be written to.
        """
        self.directory, self._described = directory, dict(described or {})
        if create:
            with wrap_write_errors(directory):
                directory.mkdir(parents=True, exist_ok=True)
        elif not directory.is_dir():
            raise InputError(f"{directory}: expected a checkpoint, found none")
        self._storage = Storage(directory)
        self._records: dict[int, Record] = {}
        self._passed_over: dict[int, Damaged] = {}  # on disk, by a reader
        self._aside: set[int] = set()  # steps that were set aside, by a writer
        self._read_records(create)
        self._saved = SavedStep(directory.with_name("saved.json"), self.steps, create)
        self._unread: tuple[int, Any] | None = None  # a step that is saved, and the structure of its optimizer state

    def _read_records(self, create: bool) -> None:
        """Read all records, and set aside or pass over the checkpoints whose record is damaged."""
        damaged = {}
        for step in self.steps:
            try:
                self._records[step] = read_record(self.directory / str(step))
            except Damaged as error:
                if (self.directory / str(step)).exists():  # or else the run, which goes on, has just deleted it
                    damaged[step] = error
        if damaged and not self._records:
            raise _all_damaged(damaged)
        for step, damage in damaged.items():
            if create:
                self._set_aside(step, damage)
            else:
                self._passed_over[step] = damage
                _say_once(f"{damage}; it is passed over")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._finish_save()
        self._storage.close()

    @property
    def steps(self) -> list[int]:
        """The steps on disk, from the newest to the oldest."""
        names = {path.name for path in self.directory.iterdir()}
        steps = {int(name) for name in names if name.isdecimal() and name == str(int(name))}
        return sorted(steps - {*self._passed_over}, reverse=True)

    @property
    def latest(self) -> int | None:
        """The newest step on disk."""
        return next(iter(self.steps), None)

    @property
    def best_or_latest(self) -> int | None:
        """The best step by the monitored figure if there is one, else the latest."""
        return self.latest if self._best is None else self._best

    @property
    def _best(self) -> int | None:
        return best_step({step: self._records[step] for step in self.steps if step in self._records})

    def save(self, state: TrainState, window: Mapping[str, Any], monitored: float | None = None) -> None:
        """Save a state of host arrays and the running mean of the metrics, in the background.

        Args:
          state: the state after `state.step` updates; at least as many as those of any checkpoint.
          window: `RunningMean.state` of the metrics since the last logged line.
          monitored: the figure that the best checkpoint has lowest, if it was measured at this step.

        Raises:
          InputError: the state is not finite.
          WriteError: this save, or the one before, cannot be written.
        """
        step = int(state.step)
        finite.check_finite(state, f"{self.directory}: step {step} is not saved, as it is")
        items = {"model": state.variables, "optimizer": state.opt_state, "window": dict(window)}
        record = Record(
            **{name: int(getattr(state, name)) for name in _COUNTS},
            # A figure that is not finite must not pass for the best: nothing compares as less than NaN.
            monitored=None if monitored is None or not np.isfinite(monitored) else float(monitored),
            workdir=self._described,
            leaves={name: array_checksums(tree) for name, tree in items.items()},
        )
        self._finish_save()
        if step < (self.latest or 0):
            raise ValueError(f"{self.directory}: step {step} comes before step {self.latest}, which is saved")
        if step in self.steps and self._records[step].leaves == record.leaves:
            write_record(self.directory / str(step), record)  # now with the figure that was missing
        else:
            if step in self.steps:
                self._delete(step)
            self._storage.save(step, items, record.to_json())
            self._unread = step, zeros_like_tree(state.opt_state)
        self._records[step] = record

    def wait_until_finished(self) -> int | None:
        """Wait for the latest save, and return the newest step on disk. Raises WriteError if it cannot be written."""
        self._finish_save()
        return self.latest

    def _finish_save(self) -> None:
        """Wait for the latest save and read it back: older checkpoints go, or it is set aside if it is damaged."""
        self._storage.wait()
        if self._unread is None:
            return
        (step, optimizer), self._unread = self._unread, None
        try:
            self._read(step, _all_items(optimizer))
        except Damaged as error:
            self._set_aside(step, error)
            return
        self._saved.note(step)
        pins = pinned(self.directory.with_name("pins")).values()
        for old in {*self._records} - kept_steps(self._records, pins):
            self._delete(old)

    def _delete(self, step: int) -> None:
        """Delete a checkpoint. One whose deletion is cut off is no damaged checkpoint."""
        gone = self.directory / f"{step}.deleted-{time.time_ns()}"
        with wrap_write_errors(self.directory):
            (self.directory / str(step)).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        self._records.pop(step, None)

    def _set_aside(self, step: int, error: Damaged) -> None:
        aside = self.directory / f"{step}.corrupt-{time.time_ns()}"
        with wrap_write_errors(self.directory):
            (self.directory / str(step)).rename(aside)
        self._records.pop(step, None)
        self._aside.add(step)
        print(f"{error}; set aside as {aside.name}")

    def restore(self, target: TrainState) -> tuple[TrainState, dict]:
        """Restore the latest state that is whole, and the running mean of the metrics; set damaged ones aside.

        Args:
          target: a state whose leaves have the shapes and dtypes to expect.

        Raises:
          InputError: there is no checkpoint, none is whole, it is not finite, has leaves of other shapes or dtypes, or
            the files that say what the run is have changed since.
        """
        step, restored, damaged = self._first_whole(self.steps, _all_items(zeros_like_tree(target.opt_state)))
        for other, error in damaged.items():
            self._set_aside(other, error)
        if self._saved.step is not None and self._saved.step > max({step, *self._aside}):
            print(f"{self.directory}: step {self._saved.step:,}, which was saved, is gone; step {step:,} is used")
        variables, record = dict(restored["model"]), self._records[step]
        counts = {name: np.int32(getattr(record, name)) for name in _COUNTS}
        state = TrainState(params=variables.pop("params"), extra=variables, opt_state=restored["optimizer"], **counts)
        self._check_state(step, state, target)
        return state, restored["window"]

    def restore_variables(self, expected: Any, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """Return the step and the variables {"params", collection, ...} of a checkpoint.

        Args:
          expected: variables of the names, shapes and dtypes of the run's model.
          step: of the checkpoint; by default the best one, or the latest if none is known to be the best.

        Raises:
          InputError: there is no such checkpoint, it is damaged or not finite, it is of another model, or the files
            that say what the run is have changed since.
        """
        if step in self._passed_over:
            raise self._passed_over[step]
        if step is not None and step not in self.steps:
            kept = ", ".join(map(str, reversed(self.steps)))
            raise InputError(f"--step={step}: no such checkpoint in {self.directory}\nKept: {kept}")
        preferred = [] if self._best is None else [self._best]
        steps = list(dict.fromkeys([*preferred, *self.steps])) if step is None else [step]
        step, restored, damaged = self._first_whole(steps, {"model": None})
        for error in damaged.values():
            print(f"{error}; step {step} is used")
        self._check_state(step, restored["model"], expected)
        return step, restored["model"]

    def is_intact(self, expected: Any) -> bool:
        """Return whether the model of the newest and of the best step can be read, and is what was saved.

        For `expected` and the errors see `restore_variables`.
        """
        try:
            for step in {self.latest or 0, self.best_or_latest or 0}:
                self._check_state(step, self._read(step, {"model": None})["model"], expected)
        except Damaged:
            return False
        return True

    def _first_whole(
        self, steps: Sequence[int], items: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any], dict[int, Damaged]]:
        """Return the first of the steps that is whole, its items, and what is wrong with those before."""
        damaged: dict[int, Damaged] = {}
        for step in steps:
            try:
                return step, self._read(step, items), damaged
            except Damaged as error:
                damaged[step] = error
        raise _all_damaged(damaged) if damaged else InputError(f"{self.directory}: expected a checkpoint, found none")

    def _read(self, step: int, items: Mapping[str, Any]) -> dict[str, Any]:
        """Read items of a step as they were saved, and its record. Raises Damaged."""
        directory = self.directory / str(step)
        record = read_record(directory)
        try:
            restored = self._storage.restore(step, items)
            for name in items:
                check_arrays(name, restored[name], record.leaves[name])
        except Exception as error:
            raise Damaged.by(error, directory) from error
        self._records[step] = record
        return restored

    def _check_state(self, step: int, state: Any, expected: Any) -> None:
        """Raise InputError unless a step's arrays and the run's files are those that are expected, and finite."""
        saved = self._records[step].workdir
        for name, checksum in self._described.items():
            if name in saved and saved[name] != checksum:
                raise InputError(
                    f"{self.directory.with_name(name)} is not what it was when step {step} was saved: it was changed "
                    "or damaged since\nPut the old one back, or begin again in another --workdir"
                )
        where = f"{self.directory}/{step}"
        for name, (actual, wanted) in differences(leaf_types(state), leaf_types(expected)).items():
            actual, wanted = actual or "missing", wanted or "nothing of that name"
            raise ShapeMismatch(f"{where}: {name} is {actual}, expected {wanted}")
        finite.check_finite(state, f"{where} is")


def _all_damaged(damaged: Mapping[int, Damaged]) -> InputError:
    first, *others = damaged.values()
    return InputError(f"{first}\nnone of the others is whole: {', '.join(map(str, damaged))}") if others else first


@functools.cache
def _say_once(line: str) -> None:
    """Print a line that several readers in one process would repeat."""
    print(line)


def _all_items(optimizer: Any) -> dict[str, Any]:
    """Return what to restore of a run; `optimizer` has the structure, shapes and dtypes of its state."""
    return {"model": None, "optimizer": optimizer, "window": None}
