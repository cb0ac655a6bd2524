"""Base of trained models: found by its workdir, applied to any number of examples on all devices."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from ml_collections import ConfigDict

from vqjax import tasks
from vqjax.data.files.damage import refuse_damage
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.workdir import Workdir
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError
from vqjax.system.files import read_json
from vqjax.system.switches import own_settings
from vqjax.tasks.stage1 import Stage1

_BATCH, _PIXELS = 256, 2**18  # images at a time, and pixels of them together unless one image has more


class NoRunError(InputError, FileNotFoundError):
    """A workdir in which no run lives."""


class Model:
    """A trained model.

    It can be pickled, as its workdir and its step: whoever reads the pickle loads it from there.

    Attributes:
      tasks: names of the tasks whose runs it is of.
      path: the workdir.
      step: of the checkpoint that the weights are of.
      facts: run.json: "dataset", "image_shape" (H, W, C), "class_names", versions.
    """

    tasks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, task: Any, variables: dict[str, Any], step: int):
        """Create the model of a task and its variables, on the host. `load` finds both."""
        self.path, self.step, self.facts = path, step, task.facts
        self._task, self._variables, self._process = task, variables, os.getpid()
        self._mapper = devices.Mapper(self._fixed(task, variables), task.settings.parallel)

    def _fixed(self, task: Any, variables: dict[str, Any]) -> Mapping[str, Any]:
        """Return the arrays that the functions of the model need beside a batch."""
        return variables

    @classmethod
    @argument_names()
    def load(cls, workdir: str | Path, step: int | None = None, stage1: str | Path | None = None) -> Self:
        """Load a trained model.

        Args:
          workdir: of its run.
          step: of the checkpoint; by default the best one by the validation share, or else the last.
          stage1: workdir of the autoencoder that it was trained on, if that has moved.

        Raises:
          FileNotFoundError: there is no run in the workdir.
          ValueError: the run is of another task, there is no such checkpoint, or its stage 1 is gone, retrained or
            another one.
        """
        return cls._of_run(find_run(workdir), step, None if stage1 is None else str(stage1))

    @classmethod
    def _of_run(cls, run: Workdir, step: int | None, stage1: str | Stage1 | None) -> Self:
        """Load the model of a run; see `load`. A stage 1 that was read already is not read again."""
        if (name := run.config().get("task")) not in cls.tasks:
            expected = " or ".join(map(repr, cls.tasks))
            raise InputError(f"--workdir={run.path} holds a run of task {name!r}, expected {expected}")
        task = tasks.load_task(run, stage1)
        step, variables = run.restore_variables(task.abstract_variables, step)
        return cls(run.path, task, variables, step)

    def __reduce__(self) -> tuple[Any, ...]:
        stage1 = self._task.stage1
        return type(self).load, (self.path, self.step, stage1.path if stage1 else None)

    def __repr__(self) -> str:
        return f"<vqjax.{type(self).__name__} of {self.path}, step {self.step}>"

    @property
    def config(self) -> ConfigDict:
        """Config of the run."""
        return Workdir(self.path, "workdir").config()

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics in the run's eval.json, with the split and the step that they are of; {} if there is none."""
        return read_metrics(self.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the labels; () without labels."""
        return self._task.class_names  # type: ignore[no-any-return]

    def _map(self, function: Callable, pixels: int, batch: int | None = None, **arrays: np.ndarray) -> Any:
        """Apply a function to all rows of arrays.

        Args:
          function: (what `_fixed` gives, a batch) -> a tree of arrays with the batch's leading axis.
          pixels: of an image, by which the number of images at a time is chosen.
          batch: that number, if it is given.
          **arrays: of one length N, 1 or more.

        Returns:
          The tree, NumPy arrays of N.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                "this process was forked from the one that loaded the model, and JAX does not work in a fork: "
                'start processes by "spawn" or "forkserver", to which the model can be sent'
            )
        size = batch or min(_BATCH, 1 << max(0, (_PIXELS // pixels).bit_length() - 1))
        with own_settings():
            return self._mapper(function, Split(**arrays), size, "images")


def find_run(workdir: str | Path) -> Workdir:
    """Find the run in a workdir. Raises NoRunError if there is none."""
    run = Workdir(workdir)
    if not run.exists:
        found = "no config.json in it" if run.path.is_dir() else "no such directory"
        raise NoRunError(f"--workdir={workdir}: expected the workdir of a trained model, found {found}")
    return run


def read_metrics(workdir: Path) -> dict[str, Any]:
    """Read eval.json of a run; {} if there is none. Raises InputError if it is damaged."""
    path = workdir / "eval.json"
    with refuse_damage(f"{path} cannot be read", f"vqjax evaluate {workdir} writes it again"):
        return dict(read_json(path)) if path.is_file() else {}
