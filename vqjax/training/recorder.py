"""The recorder of a run: metrics, evaluations, checkpoints, and what a person sees of them."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from vqjax.runs import finite
from vqjax.runs.accumulator import MetricsAccumulator
from vqjax.runs.devices import processes
from vqjax.runs.reports.lines import read_lines
from vqjax.runs.reports.writer import Writer
from vqjax.runs.shared import SharedCheckpoints
from vqjax.runs.state import TrainState
from vqjax.runs.workdir import Workdir
from vqjax.system.signals import SignalHandler
from vqjax.system.terminal import Progress, format_metrics
from vqjax.tasks.base import monitored_value
from vqjax.training.clock import Clock
from vqjax.training.evaluation import session_evaluator
from vqjax.training.pace import Pace
from vqjax.training.setup import Session
from vqjax.training.startup import Startup


class Recorder:
    """Writes down what a run does while it is trained; entered around its steps."""

    def __init__(
        self,
        session: Session,
        workdir: Workdir,
        checkpoints: SharedCheckpoints,
        signals: SignalHandler,
        first: int,
        sums: Mapping | None,
        clock: Clock,
    ):
        """Args:
        session: of the run.
        workdir: its place.
        checkpoints: of the run, open.
        signals: one that asks to stop ends an evaluation.
        first: steps so far.
        sums: of metrics since the last logged line, as a checkpoint has them; None: none.
        clock: of the run.
        """
        settings = session.settings
        self._session, self._workdir, self._checkpoints, self._signals = session, workdir, checkpoints, signals
        self._clock, self._logged, self._step = clock, first, first
        self._metrics = MetricsAccumulator(session.layout, sums)
        self._progress = Progress(first, settings.steps, settings.batch_size, session.task.headline)
        self._writer = Writer(workdir.path, first, settings.tracker)
        self.evaluator = session_evaluator(session, workdir.path, self._check_signal)
        self.split = "validation" if "validation" in session.splits else "test"
        self._taken, self._pace = 0, Pace(settings.steps)

    def __enter__(self) -> "Recorder":
        self._writer.__enter__()
        self._progress.__enter__()
        self._clock.restart()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)
        self._writer.__exit__(*error)

    @contextlib.contextmanager
    def first_call(self, startup: Startup) -> Iterator[None]:
        """Wait for the program of the first step, around which it is entered; its time is that of compiling."""
        with self._progress.timed("compiling the step"):
            startup.result("step")
            yield
        self._clock.restart()

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Add the metrics of the steps up to `step`, on the devices; waits so that not too many are in flight."""
        self._metrics.add(metrics, step - self._step)
        self._taken, self._step = step - self._step, step
        if estimate := self._pace.after(step, metrics):
            self._progress.line(estimate)

    def log(self, step: int, state: TrainState) -> None:
        """Write a line of metrics. Raises Diverged if too many steps in a row were skipped."""
        metrics = self._metrics.close()
        self._writer.metrics(step, "train", metrics)
        if "skipped" in metrics:
            self._progress.line(f"step {step:,}: {metrics['skipped']} of the latest steps were not finite, and skipped")
        self._progress.log(step, metrics, self._images(step) / self._clock.training)
        self._check_diverged(step, int(self._session.layout.collect(state.consecutive_skips)))

    def log_time(self, step: int) -> None:
        """Write a line of timings."""
        self._writer.timing(step, self._images(step), self._clock.spent())
        self._clock.restart()
        self._logged = step

    def stopped(self) -> None:
        """Tell the trackers that the run is to go on later."""
        self._writer.status = "stopped"

    def show(self, step: int) -> None:
        """Move the progress bar."""
        self._progress.step(step, self._taken, self._metrics.latest)

    def _images(self, step: int) -> int:
        """Images of training since the last logged line."""
        return (step - self._logged) * self._session.settings.batch_size

    def evaluate(self, step: int, state: TrainState) -> float | None:
        """Evaluate the monitored split, with its pictures; return the monitored value, None on test."""
        from vqjax.runs import plots  # slow to import: not before there is something to draw

        session, name, started = self._session, self.split, time.perf_counter()
        with self._clock.spending("evaluation"), self._progress.beside(step, f"evaluating on {name}"):
            metrics = self.evaluator.evaluate(step, name, session.splits[name], state.variables)
            self._writer.metrics(step, name, metrics)
            self._writer.pictures(step, name, self.evaluator.pictures, self.evaluator.code_frequencies)
            lines = read_lines(self._workdir.path / "metrics.jsonl")
            plots.save_curves(self._workdir.path / "curves.png", lines, session.task.curves)
        seconds = time.perf_counter() - started
        self._pace.exclude(seconds)
        shown = format_metrics(metrics, session.task.headline)
        self._progress.line(f"step {step:,}, {name}: {shown} ({seconds:.1f} s)")
        return monitored_value(session.task, metrics) if name == "validation" else None

    def evaluation_pending(self, step: int) -> bool:
        """Whether the evaluation after a step that the run goes on from was left for a signal."""
        settings = self._session.settings
        due = step > 0 and (step % settings.eval_every == 0 or step == settings.steps)
        lines = read_lines(self._workdir.path / "metrics.jsonl") if due else []
        there = any(line["step"] == step and line["split"] == self.split for line in lines)
        return bool(processes.broadcast_json(due and not there))

    def save(self, state: TrainState, monitored: float | None) -> None:
        """Save a state on the devices, in the background; not one of a run that is about to end as diverged."""
        if not processes.is_leader():
            return
        state = self._session.layout.collect(state)
        if state.consecutive_skips < finite.MAX_SKIPPED_IN_A_ROW:
            with self._clock.spending("save"):
                self._checkpoints.save(state, self._metrics.state(), monitored)

    def _check_signal(self) -> None:
        """Raise Stopped if a signal came to the only process; several go on to where they agree."""
        if self._signals.has_unsaved_steps and jax.process_count() == 1:
            self._signals.check()

    def _check_diverged(self, step: int, skips: int) -> None:
        """Raise Diverged if so many steps in a row, up to `step`, were skipped that no more are tried."""
        if skips < finite.MAX_SKIPPED_IN_A_ROW:
            return
        last = self._checkpoints.wait_until_finished()
        path = self._workdir.path / "checkpoints" / str(last)
        kept = "none was saved" if last is None else f"step {last:,}, {path}"
        raise finite.Diverged(
            f"from step {step - skips + 1:,} on, {finite.MAX_SKIPPED_IN_A_ROW} steps in a row were not finite\n"
            f"last good checkpoint: {kept}\n"
            "The same command would end here again: try another --workdir with a lower config.optimizer.learning_rate\n"
            "or with config.optimizer.clip_norm=1; config.init_from begins with the weights of this run."
        )
