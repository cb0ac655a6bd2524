"""Evaluation of a whole split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqjax import tasks
from vqjax.data import datasets
from vqjax.data.batches import evaluation_batches
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.metrics import RunningMean, recall, summarize
from vqjax.runs.reports.report import write_report
from vqjax.runs.workdir import Workdir
from vqjax.system.files import write_json
from vqjax.tasks.base import Task
from vqjax.training.steps import eval_step

PICTURES = 64  # images in a grid


class Evaluator:
    """Evaluates a task's variables on splits, and writes down what came out.

    Attributes:
      pictures: the files of the latest evaluation's images.
      code_frequency: its (K,) shares of positions; None without codes.
    """

    pictures: Sequence[Path] = ()
    code_frequency: np.ndarray | None = None

    def __init__(
        self,
        task: Task,
        program: devices.DeviceLayout,
        batch_size: int,
        directory: Path,
        frozen: Any,
        between: Callable[[], None] = lambda: None,
    ):
        """Args:
        task: whose variables are evaluated.
        program: what it is compiled by.
        batch_size: a multiple of the devices.
        directory: where it writes.
        frozen: the task's, replicated.
        between: called now and then; what it raises ends an evaluation.
        """
        self._task, self._program, self._batch_size, self._directory = task, program, batch_size, directory
        self._between = between
        self._step, self._frozen = program.compile(eval_step(task)), frozen
        self._prepare = program.compile(lambda frozen, batch: task.prepare(batch, None, frozen), sharded=True)

    def evaluate(self, step: int, name: str, split: Split, variables: Any) -> dict[str, float]:
        """Writes eval.json and the pictures of a split; returns the figures. `variables` replicated."""
        on_host = self._program.collect(variables)
        parameters = sum(map(np.size, jax.tree.leaves(on_host["params"])))
        figures = self._report(step, name, split, self.measure(variables, split), parameters)
        self._between()
        self._pictures(on_host, split)
        return figures

    def measure(self, variables: Any, split: Split) -> dict[str, np.ndarray]:
        """The mean of every metric over the split, each example once; `variables` replicated."""
        totals = RunningMean()
        for batch in evaluation_batches(split, self._batch_size, jax.process_index(), jax.process_count()):
            self._between()
            batch = self._program.shard(batch)
            if "evaluation" in self._task.prepares:
                batch = self._prepare(self._frozen, batch)
            sums, count = self._program.collect(self._step(variables, batch))
            totals.add(sums, count)
        return totals.means()

    def _report(
        self, step: int, name: str, split: Split, means: Mapping[str, np.ndarray], parameters: int
    ) -> dict[str, float]:
        """Writes eval.json and what can be drawn of a split's means; returns the figures."""
        from vqjax.runs import plots  # slow to import: not before there is something to draw

        means = {**means, **self._task.baselines(name, split)}
        figures = {**summarize(means), "parameters": parameters}
        by_position = {key: value for key, value in means.items() if key.endswith("_by_position")}
        details = {key: np.round(value, 5).tolist() for key, value in by_position.items()}
        self.code_frequency = means.get("code_frequency")
        if self.code_frequency is not None:
            plots.save_usage(self._directory / "codebook.png", self.code_frequency)
        if by_position:
            plots.save_maps(self._directory / "positions.png", by_position)
        if "confusion" in means:
            counts, names = np.round(len(split) * means["confusion"]).astype(int), self._task.class_names
            shares = (None if np.isnan(share) else round(share, 5) for share in recall(counts).tolist())
            details["accuracy_by_class"] = dict(zip(names, shares))
            plots.save_confusion(self._directory / "confusion.png", counts, names)
        write_json(self._directory / "eval.json", {"step": step, "split": name, **figures, **details})
        return figures

    def _pictures(self, variables: Any, split: Split) -> None:
        """Writes the task's pictures of the first images of a split; `variables` on the host."""
        from vqjax.runs import plots

        batch = next(evaluation_batches(split[:PICTURES], min(PICTURES, len(split))))
        found = self._task.images(variables, batch)
        self.pictures = [plots.save_pictures(self._directory / name, *pictures) for name, pictures in found.items()]


def evaluation_dir(workdir: Workdir, step: int | None = None) -> Path:
    """Where an evaluation is written: that of a checkpoint which was named lies beside the run's own figures."""
    return workdir.path if step is None else workdir.path / "evaluations" / str(step)


def evaluate(
    workdir: Workdir,
    step: int | None = None,
    stage1: str | None = None,
    data_dir: str | None = None,
    data_path: str | None = None,
) -> tuple[int, dict[str, float]]:
    """Evaluates a checkpoint of a trained run on its test split and writes eval.json and the pictures in its `place`.

    Args:
      workdir: of the run.
      step: of the checkpoint; by default the best one by the validation share, or else the last, and report.md is
        written again too.
      stage1: as of `tasks.trained`.
      data_dir, data_path: as of `datasets.located`.

    Returns:
      The step and the figures. Raises InputError if there is no such run or checkpoint.
    """
    task = tasks.load_task(workdir, stage1)
    task.config = datasets.with_data_paths(task.config, data_dir, data_path)
    directory = evaluation_dir(workdir, step)
    step, variables = workdir.restore_variables(task.abstract_variables, step)
    test = task.load(("test",))["test"]
    program = devices.PARALLEL[task.config.parallel]()
    # There may be another number of devices than in training; the last batch is padded anyway.
    batch_size, frozen = devices.round_up_to_devices(task.config.batch_size), program.replicate(task.frozen)
    directory.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator(task, program, batch_size, directory, frozen)
    figures = evaluator.evaluate(step, "test", test, program.replicate(variables))
    if directory == workdir.path:
        write_report(workdir)
    return step, figures
