"""The training loop, the same for every task: (config, workdir) -> a workdir that describes itself."""

import contextlib
import functools
import itertools
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax import __version__, tasks
from vqjax.core.config import brief, check_name
from vqjax.core.files import read_json
from vqjax.core.history import renamed
from vqjax.data import datasets
from vqjax.data.batches import batches
from vqjax.runs import devices, finite
from vqjax.runs.lock import locked
from vqjax.runs.report import write_report
from vqjax.runs.state import TrainState, check_fits, initial_state
from vqjax.runs.window import Window
from vqjax.runs.workdir import Workdir
from vqjax.runs.writer import Writer, read_lines, seconds
from vqjax.tasks.contract import Task
from vqjax.tasks.stage1 import Stage1
from vqjax.training import debugging, optimizers, profiling
from vqjax.training.clock import Clock
from vqjax.training.evaluation import Evaluator
from vqjax.training.steps import prepare_step, train_step
from vqjax.training.terminal import Progress, fitted, short, show, summary, timed

_NOTES = 20  # lines about the data


def check(config: ConfigDict, workdir: Workdir | None = None, stage1: Stage1 | None = None) -> Task:
    """The task of a config, when everything has been checked that can be before data is read.

    Args:
      config: of the run.
      workdir: its place, where it may have begun.
      stage1: the one of the config, if it is planned and not there yet.

    Returns:
      The task, its config complete.

    Raises:
      InputError: something is wrong.
    """
    facts = workdir.facts() if workdir and workdir.begun else None
    config, stage1 = tasks.complete(config, stage1, facts)
    datasets.check(config)
    check_name(devices.PARALLEL, config.parallel, "config.parallel")
    optimizers.make(config)
    devices.check_batch(config.batch_size)
    if workdir:
        workdir.check(config)
    task = tasks.build(config, stage1, facts)
    if not facts:
        task.check(datasets.describe(config).sizes["train"] - datasets.held_out(config))
    return task


def train(config: ConfigDict, workdir: str | Path, debug_nans: bool = False, profile: int = 0) -> int:
    """Trains, or goes on training, the run that `config` describes in `workdir`.

    Args:
      config: of the run.
      workdir: its place.
      debug_nans: the first step that is not finite ends the run, and it is said which operation was the first.
      profile: a trace of so many steps is written, to `profile/` in the workdir.

    Returns:
      The exit status: 0; 3 if the run diverged; or 128 + the signal that stopped it after it had saved its last
      completed step.

    Raises:
      InputError: before anything is compiled or written, if the config, the data or the workdir is unfit, or another
        process trains there; or the weights to begin with are not finite.
    """
    place = Workdir(workdir)
    with locked(place.path):
        return _train(config, place, debug_nans, profile)


def _train(config: ConfigDict, place: Workdir, debug_nans: bool, profile: int) -> int:
    """As `train`, in a place that is locked."""
    task = check(config, place)
    changed = place.differences(task.config)
    if place.exists and _finished(place, task):
        if changed:
            place.create(task.config, task.facts)
        return 0
    for key, (old, new) in changed.items():
        print(f"config.{key} is now {new!r}, was {old!r}")
    run = _Run(task, place, debug_nans)
    with _Interrupts() as interrupts:
        try:
            with profiling.traced(run.update, place.path / "profile", profile) as run.update:
                whole = run.train(interrupts)
        except finite.Diverged as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        if not whole:
            print(f"stopped by {signal.Signals(interrupts.signal).name}; the same command goes on from here")
            return 128 + interrupts.signal
    run.close()
    return 128 + interrupts.signal if interrupts.signal else 0  # one that came in the last step


def _quickly() -> dict[str, Any]:
    """Options of the compiler for what runs once: a third of the time on CPUs, and the same bits."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def _finished(workdir: Workdir, task: Task) -> bool:
    """Whether the run has all its steps and its evaluation; if so, says so."""
    if not (workdir.path / "checkpoints").exists():
        return False
    with workdir.checkpoints(create=True) as checkpoints:
        latest, chosen = checkpoints.latest or 0, checkpoints.chosen
    if latest < task.config.steps or not _tested(workdir, chosen):
        return False
    print(fitted(f"{short(workdir.path)} is finished after {latest:,} steps: {_result(workdir, task.headline)}"))
    print("To train on, raise its config.steps; to start afresh, name another --workdir.")
    return True


def _tested(workdir: Workdir, step: int | None) -> bool:
    """Whether eval.json is there and about this step on the test split."""
    try:
        found = read_json(workdir.path / "eval.json")
    except (OSError, ValueError):  # none, or a damaged one: it is made again
        return False
    return {"step": step, "split": "test"}.items() <= found.items()


def _result(workdir: Workdir, names: Sequence[str]) -> str:
    figures = read_json(workdir.path / "eval.json")
    return f"{figures['split']}, step {figures['step']:,}: {show(figures, names)}"


class _Interrupts:
    """While entered, SIGINT and SIGTERM set `signal`, which the loop reads between steps; a second one kills."""

    def __enter__(self) -> "_Interrupts":
        self.signal = 0
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.signal:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number


class _Run:
    """A run in the making: the loop is `train`, what it does now and then are its other methods."""

    def __init__(self, task: Task, workdir: Workdir, debug_nans: bool = False):
        self.task, self.workdir, config = task, workdir, task.config
        self.variables = tasks.started(task) if config.start and not workdir.begun else None
        self.config = config
        hardware = f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"
        print(f"vqjax {__version__} on {hardware}; workdir {short(workdir.path)}")
        print(brief(config))
        with timed("reading the data"):
            self.splits = task.load()
        if workdir.begun:
            datasets.agree_exactly(config, task.facts)
        else:
            task.facts = task.describe(self.splits)
        self.optimizer, schedule = optimizers.make(config)
        self.program = devices.PARALLEL[config.parallel]()
        init_key, prepare_key, *step_keys = jax.random.split(jax.random.key(config.seed), 4)
        init = jax.jit(self.task.init, compiler_options=_quickly())  # traced once, for its shapes too
        self.init = functools.partial(init, init_key)
        first = functools.partial(initial_state, optimizer=self.optimizer)
        self.expected = jax.eval_shape(first, init.eval_shape(init_key))
        check_fits(self.expected)
        step = train_step(self.task, self.optimizer, schedule, *step_keys)
        self.update = self.program.compile(step, donate=True)
        if debug_nans:
            bare = train_step(self.task, self.optimizer, schedule, *step_keys, guarded=False)
            self.update = debugging.watched(self.update, bare, self.program)
        self.prepare = self.program.compile(prepare_step(self.task, prepare_key), sharded=True)
        self.frozen = self.program.replicate(self.task.frozen)
        self.evaluator = Evaluator(self.task, self.program, config.batch_size, workdir.path, self.frozen)

    def train(self, interrupts: _Interrupts) -> bool:
        """From the latest checkpoint, or from the start, to the last step (True) or a signal (False)."""
        config, program = self.config, self.program
        self.workdir.create(config, self.task.facts)
        if self.task.stage1:
            self.task.stage1.pin(self.workdir.path)
        with self.workdir.checkpoints(create=True) as self.checkpoints:
            state, sums = self._start()
            first = int(state.step)
            self._introduce(state)
            state, window = program.replicate(state), Window(program, sums)
            progress = Progress(first, config.steps, config.batch_size, self.task.headline)
            with Writer(self.workdir.path, first) as self.writer, progress as self.progress:
                self.clock, self.timed = Clock(), first
                for step, batch in zip(range(first, config.steps), self._waiting(self._batches(first))):
                    batch = program.shard(batch)
                    if "train" in self.task.prepares:
                        batch = self.prepare((state.step, self.frozen), batch)
                    with self._compiling() if step == first else contextlib.nullcontext():
                        state, metrics = self.update(state, batch)
                    window.add(metrics)
                    done, last, monitored = step + 1, step + 1 == config.steps, None
                    if done % config.log_every == 0 or last:
                        self._log(done, window)
                        self._check(done, int(program.collect(state.in_a_row)))
                    if done % config.eval_every == 0 or last:
                        monitored = self._evaluate(done, state)
                    stop = interrupts.signal  # looked at once: a signal from here on ends the next step
                    if done % config.save_every == 0 or last or stop or monitored is not None:
                        self._save(program.collect(state), window, monitored)
                    if done % config.log_every == 0 or last:
                        self._time(done)
                    self.progress.step(done, window.latest)
                    if stop and not last:
                        return False
        return True

    def close(self) -> None:
        """The end of a finished run: the chosen checkpoint's test figures, if they are missing, and the summary."""
        workdir = self.workdir
        with workdir.checkpoints() as checkpoints:
            chosen = checkpoints.chosen
        if not _tested(workdir, chosen):
            step, variables = workdir.restore_variables(self.task.expected, chosen)
            with timed(f"evaluating step {step:,} on test"):
                self.evaluator.evaluate(step, "test", self.splits["test"], self.program.replicate(variables))
        write_report(workdir)
        following = self.task.following(shlex.quote(short(workdir.path)))
        print(summary(workdir.path, _result(workdir, self.task.headline), following, seconds(workdir.path)))

    def _introduce(self, state: TrainState) -> None:
        """Prints how much there is of data and parameters."""
        print(f"images: {', '.join(f'{len(split):,} {name}' for name, split in self.splits.items())}")
        counts = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in state.params.items()}
        print(fitted(f"parameters: {sum(counts.values()):,} ({', '.join(f'{k} {v:,}' for k, v in counts.items())})"))
        extra = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in state.extra.items()}
        print(fitted(f"without gradients: {', '.join(f'{k} {v:,}' for k, v in extra.items()) or 'none'}"))
        for note in [] if state.step else self._notes():
            print(fitted(note))
        if state.step:
            print(f"going on from step {int(state.step):,}")

    def _notes(self) -> list[str]:
        """What a user should know of the run before it begins."""
        notes = [*datasets.describe(self.config).notes, *self.task.notes, *datasets.oddities(self.config)]
        more = [f"and more: python -m vqjax inspect lists all {len(notes)}"] if len(notes) > _NOTES else []
        return notes[:_NOTES] + more

    def _batches(self, start: int) -> Iterator[dict]:
        config = self.config
        return batches(self.splits["train"], config.batch_size, config.seed, config.data.shuffle, start)

    def _waiting(self, batches: Iterator[dict]) -> Iterator[dict]:
        """The batches, the time that they are waited for being the data's."""
        with contextlib.closing(batches):  # type: ignore[type-var]
            while True:
                with self.clock.spending("data"):
                    batch = next(batches)
                yield batch

    def _start(self) -> tuple[TrainState, dict | None]:
        """The state to go on from and the metrics since its last logged line, on the host."""
        if self.checkpoints.latest is not None:
            with timed("restoring"):
                state, sums = self.checkpoints.restore(self.expected)
            return state, sums and {**sums, "sums": renamed(sums["sums"], self.config.task)}
        variables = self.variables
        if variables is None:
            with timed("first weights"):
                variables = self.init()
            epoch = itertools.islice(self._batches(0), max(1, len(self.splits["train"]) // self.config.batch_size))
            with timed(self.task.initialises):
                variables = self.task.initialise(variables, epoch, self.config.seed)
        state = jax.device_get(initial_state(variables, self.optimizer))
        finite.check(state, "before the first step the state is")
        return state, None

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        """Around the first step."""
        with self.progress.timed("compiling the step"):
            yield
        self.clock.restart()

    def _save(self, state: TrainState, window: Window, monitored: float | None) -> None:
        if state.in_a_row < finite.MOST:  # or else the run ends at the next line, and an earlier one is of more use
            with self.clock.spending("save"):
                self.checkpoints.save(state, window.state(), monitored)

    def _check(self, done: int, in_a_row: int) -> None:
        """Raises Diverged if so many steps in a row, up to `done`, were skipped that no more are tried."""
        if in_a_row < finite.MOST:
            return
        self.checkpoints.wait()
        step = self.checkpoints.latest
        kept = "none was saved" if step is None else f"step {step:,}, {self.checkpoints.directory / str(step)}"
        raise finite.Diverged(
            f"from step {done - in_a_row + 1:,} on, {finite.MOST} steps in a row were not finite\n"
            f"last good checkpoint: {kept}\n"
            "The same command would end here again: try another --workdir with a lower config.optimizer.learning_rate\n"
            "or with config.optimizer.clip=1; config.start begins with the weights of this run."
        )

    def _log(self, done: int, window: Window) -> None:
        figures = window.close()
        self.writer.figures(done, "train", figures)
        if "skipped" in figures:
            self.progress.line(f"step {done:,}: {figures['skipped']} of the latest steps were not finite, and skipped")
        self.progress.log(done, figures, (done - self.timed) * self.config.batch_size / self.clock.training)

    def _time(self, done: int) -> None:
        self.writer.timing(done, (done - self.timed) * self.config.batch_size, self.clock.spent())
        self.clock.restart()
        self.timed = done

    def _evaluate(self, done: int, state: TrainState) -> float | None:
        """Figures and pictures of the validation share, or else the test split; returns the monitored figure."""
        from vqjax.runs import plots  # slow to import: not before there is something to draw

        name = "validation" if "validation" in self.splits else "test"
        started = time.perf_counter()
        with self.clock.spending("evaluation"), self.progress.beside(done, f"evaluating on {name}"):
            figures = self.evaluator.evaluate(done, name, self.splits[name], state.variables)
            self.writer.figures(done, name, figures)
            self.writer.pictures(done, name, self.evaluator.pictures, self.evaluator.code_frequency)
            lines = read_lines(self.workdir.path / "metrics.jsonl")
            plots.save_curves(self.workdir.path / "curves.png", lines, self.task.curves)
        took = time.perf_counter() - started
        self.progress.line(f"step {done:,}, {name}: {show(figures, self.task.headline)} ({took:.1f} s)")
        return self.task.monitor(figures) if name == "validation" else None
