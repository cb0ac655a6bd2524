"""Evaluation of a whole split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqjax import tasks
from vqjax.data.batches import evaluation_batches
from vqjax.data.datasets import load_split, reopen_dataset
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.metrics import RunningMean, code_frequencies, recall, summarize
from vqjax.runs.reports.report import write_report
from vqjax.runs.side_jobs import side_job
from vqjax.runs.workdir import Workdir
from vqjax.system.files import write_json
from vqjax.tasks.base import Task
from vqjax.tasks.order_prices import record_nats
from vqjax.training.final_figures import Evaluated, add_final_figures
from vqjax.training.setup import Session
from vqjax.training.steps import eval_step

PICTURES = 64  # images in a grid


class Evaluator:
    """Evaluator of a task's variables on splits, which also writes the figures and the pictures.

    Attributes:
      pictures: the files of the latest evaluation's images.
      code_frequencies: its shares of positions (K,), for each level; see `metrics.code_frequencies`.
    """

    pictures: Sequence[Path] = ()
    code_frequencies: Mapping[str, np.ndarray] = {}

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        layout: devices.DeviceLayout,
        batch_size: int,
        directory: Path,
        frozen: Any,
        between: Callable[[], None] = lambda: None,
    ):
        """Args:
        task: whose variables are evaluated.
        dataset: of the splits.
        layout: of the devices.
        batch_size: a multiple of the devices.
        directory: where it writes.
        frozen: the task's, replicated.
        between: called now and then; what it raises ends an evaluation.
        """
        self._task, self._dataset, self._layout, self._batch_size = task, dataset, layout, batch_size
        self._directory, self._between, self._frozen = directory, between, frozen
        self._step = layout.compile(eval_step(task))
        self._prepare = layout.compile(lambda frozen, batch: task.prepare(batch, None, frozen), sharded=True)

    def evaluate(self, step: int, name: str, split: Split, variables: Any) -> dict[str, float]:
        """Write eval.json and the pictures of a split; returns the figures. `variables` replicated."""
        on_host = self._layout.collect(variables)
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
            batch = self._layout.shard(batch)
            if "evaluation" in self._task.prepares:
                batch = self._prepare(self._frozen, batch)
            sums, count = self._layout.collect(self._step(variables, batch))
            totals.add(sums, count)
        return totals.means()

    def _report(
        self, step: int, name: str, split: Split, means: Mapping[str, np.ndarray], parameters: int
    ) -> dict[str, float]:
        """Write eval.json and what can be drawn of a split's means; returns the figures."""
        from vqjax.runs import plots  # slow to import: not before there is something to draw

        means = {**means, **self._task.split_metrics(self._dataset, name, split)}
        figures = {**summarize(means), "parameters": parameters}
        by_position = {key: value for key, value in means.items() if "_by_position" in key}
        details = {key: np.round(value, 5).tolist() for key, value in by_position.items()}
        self.code_frequencies = code_frequencies(means)
        if self.code_frequencies:
            plots.save_usage(self._directory / "codebook.png", self.code_frequencies)
        if by_position:
            plots.save_maps(self._directory / "positions.png", by_position)
        if "nats_by_known" in means:
            record_nats(self._directory, step, means["nats_by_known"])
        by_class = {key: value for key, value in means.items() if key.startswith("codes_by_class")}
        if by_class:
            plots.save_codes_by_class(self._directory / "codes_by_class.png", by_class, self._task.class_names)
        if "confusion" in means:
            counts, names = np.round(len(split) * means["confusion"]).astype(int), self._task.class_names
            shares = (None if np.isnan(share) else round(share, 5) for share in recall(counts).tolist())
            details["accuracy_by_class"] = dict(zip(names, shares))
            plots.save_confusion(self._directory / "confusion.png", counts, names)
        write_json(self._directory / "eval.json", {"step": step, "split": name, **figures, **details})
        return figures

    def _pictures(self, variables: Any, split: Split) -> None:
        """Write the task's pictures of the first images of a split; `variables` on the host."""
        from vqjax.runs import plots

        self.pictures = ()
        with side_job("the pictures are not drawn"):
            batch = next(evaluation_batches(split[:PICTURES], min(PICTURES, len(split))))
            found = self._task.images(variables, batch)
            self.pictures = [plots.save_pictures(self._directory / name, *pictures) for name, pictures in found.items()]


def session_evaluator(session: Session, directory: Path, between: Callable[[], None]) -> Evaluator:
    """Evaluator of a run that is trained."""
    size = session.settings.batch_size
    return Evaluator(session.task, session.dataset, session.layout, size, directory, session.frozen, between)


def evaluation_dir(workdir: Workdir, step: int | None = None, split: str = "test") -> Path:
    """Directory of an evaluation: one of a named checkpoint, or of another split than test, lies beside the run's."""
    parts = [str(step)] * (step is not None) + [split] * (split != "test")
    return workdir.path / "evaluations" / "-".join(parts) if parts else workdir.path


def evaluate(
    workdir: Workdir,
    step: int | None = None,
    stage1: str | None = None,
    data_dir: str | None = None,
    data_path: str | None = None,
    split: str = "test",
) -> tuple[int, dict[str, float]]:
    """Evaluate a checkpoint of a trained run on a split of its data; writes eval.json and the pictures.

    Args:
      workdir: of the run.
      step: of the checkpoint; by default the best one by the validation share, or else the last, and report.md is
        written again too.
      stage1: as of `tasks.load_task`.
      data_dir, data_path: as of `datasets.with_data_paths`.
      split: name of the split.

    Returns:
      The step and the metrics. Raises InputError if there is no such run, checkpoint or split.
    """
    task = tasks.load_task(workdir, stage1)
    directory = evaluation_dir(workdir, step, split)
    step, variables = workdir.restore_variables(task.abstract_variables, step)
    dataset = reopen_dataset(task.settings.data, task.facts, data_dir, data_path)
    examples = load_split(dataset, split, task.read)
    layout = devices.PARALLEL[task.settings.parallel]()
    # There may be another number of devices than in training; the last batch is padded anyway.
    batch_size, frozen = devices.round_up_to_devices(task.settings.batch_size), layout.replicate(task.frozen)
    directory.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator(task, dataset, layout, batch_size, directory, frozen)
    metrics = evaluator.evaluate(step, split, examples, layout.replicate(variables))
    read = lambda name: examples if name == split else load_split(dataset, name, task.read)  # noqa: E731
    metrics |= add_final_figures(Evaluated(task, variables, workdir.path, directory, read))
    if directory == workdir.path:
        write_report(workdir)
    return step, metrics
