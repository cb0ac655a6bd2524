"""The training loop, the same for every task: (config, workdir) -> a workdir that describes itself."""

import concurrent.futures
import contextlib
import functools
import itertools
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax import tasks
from vqjax.config.check import check_name
from vqjax.config.display import format_config
from vqjax.config.history import rename_metrics
from vqjax.data import datasets
from vqjax.data.batches import batches
from vqjax.ops.platforms import on_cpu
from vqjax.runs import devices, finite
from vqjax.runs.accumulator import MetricsAccumulator
from vqjax.runs.checkpoints import Checkpoints
from vqjax.runs.devices import processes
from vqjax.runs.reports.lines import phase_seconds, read_lines
from vqjax.runs.reports.report import write_report
from vqjax.runs.reports.writer import Writer
from vqjax.runs.state import TrainState, check_memory, initial_state, zeros_like_tree
from vqjax.runs.workdir import Facts, Workdir
from vqjax.system.files import read_json
from vqjax.system.lock import lock_directory
from vqjax.system.signals import SignalHandler, Stopped, stop_message
from vqjax.system.terminal import Progress, display_path, format_metrics, summary, timed, wrap
from vqjax.system.version import __version__
from vqjax.tasks.base import Task
from vqjax.tasks.stage1 import Stage1
from vqjax.training import debugging, optimizers, profiling
from vqjax.training.clock import Clock
from vqjax.training.evaluation import Evaluator
from vqjax.training.introduction import describe_schedule_change, introduce
from vqjax.training.stepping import HostFedSteps, OnDeviceSteps, StepFunction, batch_shapes, fits_on_device
from vqjax.training.steps import prepare_step, train_step

_Pending = concurrent.futures.Future[jax.stages.Compiled]  # a program that a thread compiles


def build_task(config: ConfigDict, workdir: Workdir | None = None, stage1: Stage1 | None = None) -> Task:
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
    facts = processes.broadcast_json(workdir.facts() if workdir and workdir.has_facts else None)
    facts = None if facts is None else Facts(facts)
    config, stage1 = tasks.resolve_config(config, stage1, facts)
    datasets.check_splits(config)
    check_name(devices.PARALLEL, config.parallel, "config.parallel")
    optimizers.create_optimizer(config)
    devices.devices_for_batch(config.batch_size)
    if workdir:
        workdir.check(config)
    task = tasks.build_task(config, stage1, facts)
    if microbatch := config.get("microbatch", 0):
        microbatch.check(microbatch, task.abstract_variables)
    if not facts:
        task.check(datasets.open_dataset(config).sizes["train"] - datasets.num_validation(config))
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
    path = Workdir(workdir).path
    devices.set_cpu_device_count(config.get("batch_size"))  # before JAX starts
    with SignalHandler() as interrupts, processes.leader_directory(path) as directory:
        place = Workdir(directory)
        with lock_directory(place.path):
            return _train(config, place, interrupts, debug_nans, profile)


def _train(config: ConfigDict, place: Workdir, interrupts: SignalHandler, debug_nans: bool, profile: int) -> int:
    """As `train`, in a place that is locked."""
    task = build_task(config, place)
    changed = place.differences(task.config)
    if processes.broadcast_json(place.exists and _finished(place, task)):
        if changed:
            place.create(task.config, task.facts)
        return 0
    for key, (old, new) in changed.items():
        print(f"config.{key} is now {new!r}, was {old!r}")
    run = _Run(task, place, interrupts, debug_nans, singly=debug_nans or bool(profile))
    try:
        with profiling.profiled(run.update, place.path / "profile", profile) as run.update:
            stop = run.train()
    except finite.Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    interrupts.has_unsaved_steps = False
    if run.finished:
        run.close()
    else:
        print(stop_message(stop))
    return 128 + stop if stop else 0  # also after one that came in the last step


def _finished(workdir: Workdir, task: Task) -> bool:
    """Whether the run has all its steps and its evaluation; if so, says so."""
    if not (workdir.path / "checkpoints").exists():
        return False
    with workdir.checkpoints(create=True) as checkpoints:
        latest, chosen = checkpoints.latest or 0, checkpoints.best_or_latest
        if (
            latest < task.config.steps
            or not _tested(workdir, chosen)
            or not checkpoints.is_intact(task.abstract_variables)
        ):
            return False
    print(wrap(f"{display_path(workdir.path)} is finished after {latest:,} steps: {_result(workdir, task.headline)}"))
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
    return f"{figures['split']}, step {figures['step']:,}: {format_metrics(figures, names)}"


class _Run:
    """A run in the making: the loop is `train`, what it does now and then are its other methods.

    Attributes:
      finished: whether it has all its steps.
    """

    def __init__(self, task: Task, workdir: Workdir, interrupts: SignalHandler, debug_nans: bool, singly: bool):
        self.singly, self.task, self.workdir, self.interrupts, config = singly, task, workdir, interrupts, task.config
        begun = processes.broadcast_json(workdir.has_facts)
        self.variables = tasks.warm_start(task) if config.init_from and not begun else None
        self.config = config
        self.planned = workdir.config().steps if workdir.exists else config.steps  # when it was last trained
        self.program = devices.PARALLEL[config.parallel](devices.devices_for_batch(config.batch_size))
        self.hardware = f"{len(self.program.devices)} x {jax.devices()[0].device_kind}{processes.describe_processes()}"
        print(f"vqjax {__version__} on {self.hardware}; workdir {display_path(workdir.path)}")
        print(format_config(config))
        with timed("reading the data"):
            self.splits = processes.leader_first(task.load)
        if begun:
            datasets.check_same_images(config, task.facts)
        else:
            task.facts = task.describe(self.splits)
        self.optimizer, schedule = optimizers.create_optimizer(config)
        once = functools.partial(devices.jit_fast_compile, level=0)
        keys = once(lambda seed: tuple(jax.random.split(jax.random.key(seed), 4)))
        seed = np.uint32(config.seed)
        shape_of_key = keys.eval_shape(seed)[0]
        # A thread compiles beside what else comes before the first step: tracing, or k-means, leaves it a core.
        self.compiler = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self.init, self.init_program = once(self.task.init), None  # traced once, for its shapes too
        begin = functools.partial(initial_state, optimizer=self.optimizer)
        self.abstract_variables = jax.eval_shape(begin, self.init.eval_shape(shape_of_key))
        check_memory(self.abstract_variables)
        if not begun and self.variables is None:
            self.init_program = self.compiler.submit(self.init.lower(shape_of_key).compile)
        self.init_key, prepare_key, *step_keys = keys(seed)
        self.step = train_step(self.task, self.optimizer, schedule, *step_keys)
        self.update = self.program.compile(self.step, donate=True)
        if debug_nans:
            bare = train_step(self.task, self.optimizer, schedule, *step_keys, guarded=False)
            self.update = debugging.watch_steps(self.update, bare, self.program)
        self.prepare = prepare_step(self.task, prepare_key) if "train" in self.task.prepares else None
        self.frozen = self.program.replicate(self.task.frozen)
        self.evaluator = Evaluator(
            self.task, self.program, config.batch_size, workdir.path, self.frozen, self._check_signal
        )
        self.finished = False

    def train(self) -> int:
        """From the latest checkpoint, or from the start, to the last step, when it is `finished`, or to a signal.

        Returns the number of the signal, 0 if none came.
        """
        config, program, interrupts = self.config, self.program, self.interrupts
        self.workdir.create(config, self.task.facts, self.hardware)
        if self.task.stage1 and processes.is_leader():
            self.task.stage1.pin(self.workdir.path)
        agreed, stop = processes.MaxOverProcesses(program), 0
        opened: contextlib.AbstractContextManager[Checkpoints | None] = contextlib.nullcontext()
        if processes.is_leader():
            opened = self.workdir.checkpoints(create=True)
        with opened as self.checkpoints:
            restored = self._restored()
            first = int(restored[0].step) if restored else 0
            take = self._stepping(first)
            compiled = self._compiled(take) if first < config.steps else None
            self.compiler.shutdown(wait=False)  # what it was given it finishes
            state, sums = restored or (self._fresh(), None)
            introduce(self.task, self.splits, state)
            if first and self.planned != config.steps:
                print(wrap(describe_schedule_change(config, self.planned, first)))
            state, window = program.replicate(state), MetricsAccumulator(program, sums)
            progress = Progress(first, config.steps, config.batch_size, self.task.headline)
            with Writer(self.workdir.path, first) as self.writer, progress as self.progress:
                self.clock, self.timed = Clock(), first
                if self._owed(first) and (monitored := self._evaluate(first, state)) is not None:
                    self._save(state, window, monitored)
                done = first
                while done < config.steps:
                    with self._compiling(compiled) if done == first else contextlib.nullcontext():
                        state, metrics, taken = take(state, done)
                    interrupts.has_unsaved_steps = True
                    window.add(metrics, taken)
                    done += taken
                    last, monitored, left = done == config.steps, None, False
                    if done % config.log_every == 0 or last:
                        self._log(done, window)
                        self._check(done, int(program.collect(state.consecutive_skips)))
                    if done % config.eval_every == 0 or last:
                        try:
                            monitored = self._evaluate(done, state)
                        except Stopped:  # it is made when the run goes on
                            left = True
                    # Looked at once: a signal from here on ends the next step.
                    stop, save = agreed(interrupts.signal, interrupts.asked_to_save())
                    if done % config.save_every == 0 or last or stop or save or monitored is not None:
                        self._save(state, window, monitored)
                    if done % config.log_every == 0 or last:
                        self._time(done)
                    self.progress.step(done, taken, window.latest)
                    if stop and (left or not last):
                        return stop
        self.finished = True
        return stop

    def close(self) -> None:
        """The end of a finished run: the chosen checkpoint's test figures, if they are missing, and the summary."""
        workdir, leads, step, variables = (
            self.workdir,
            processes.is_leader(),
            None,
            zeros_like_tree(self.task.abstract_variables),
        )
        if leads:
            with workdir.checkpoints() as checkpoints:
                step = checkpoints.best_or_latest
        if not processes.broadcast_json(leads and _tested(workdir, step)):
            if leads:
                step, variables = workdir.restore_variables(self.task.abstract_variables, step)
            step, variables = processes.broadcast_json(step), processes.broadcast_arrays(variables)
            with timed(f"evaluating step {step:,} on test"):
                self.evaluator.evaluate(step, "test", self.splits["test"], self.program.replicate(variables))
        write_report(workdir)
        following = self.task.next_commands(shlex.quote(display_path(workdir.path)))
        print(summary(workdir.path, _result(workdir, self.task.headline), following, phase_seconds(workdir.path)))

    def _batches(self, start: int, whole: bool = False) -> Iterator[dict]:
        """Those of training from a step on: this process's share of each, or the whole of each."""
        config, share = self.config, () if whole else (jax.process_index(), jax.process_count())
        return batches(self.splits["train"], config.batch_size, config.seed, config.data.shuffle, start, *share)

    def _compiled(self, take: StepFunction) -> _Pending | None:
        """What takes the steps begins to be compiled; not where that would disturb, or be disturbed.

        On an accelerator XLA compares programs of a step by their time, for which it should have the device alone.
        Several processes compile in step with each other. Of `debug_nans` and `profile` each step is watched.
        """
        if not isinstance(take, HostFedSteps) or not on_cpu() or jax.process_count() > 1 or self.singly:
            return None
        with timed("tracing the step"):
            lowered = take.lower(self.abstract_variables, batch_shapes(self.splits["train"], self.config.batch_size))
        return self.compiler.submit(lowered.compile)

    def _stepping(self, first: int) -> StepFunction:
        """What takes the steps after the first ones."""
        config, program, train = self.config, self.program, self.splits["train"]
        if not self.singly and fits_on_device(train, self.abstract_variables):
            stops = config.log_every, config.eval_every, config.save_every
            return OnDeviceSteps(self.task, train, program, self.step, self.prepare, self.frozen, stops)
        prepare = self.prepare and program.compile(self.prepare, sharded=True)
        own = prepare and (lambda step, batch: prepare((step, self.frozen), batch))
        return HostFedSteps(self._waiting(self._batches(first)), program, own, self.update)

    def _waiting(self, batches: Iterator[dict]) -> Iterator[dict]:
        """The batches, the time that they are waited for being the data's."""
        with contextlib.closing(batches):  # type: ignore[type-var]
            while True:
                with self.clock.spending("data"):
                    batch = next(batches)
                yield batch

    def _restored(self) -> tuple[TrainState, dict | None] | None:
        """The latest state and the metrics since its last logged line, on the host; None if nothing was saved."""
        if processes.broadcast_json(self.checkpoints and self.checkpoints.latest) is None:
            return None
        state, sums = zeros_like_tree(self.abstract_variables), None
        if self.checkpoints:
            with timed("restoring"):
                state, sums = self.checkpoints.restore(self.abstract_variables)
        return processes.broadcast_arrays(state), sums and {
            **sums,
            "sums": rename_metrics(sums["sums"], self.config.task),
        }

    def _fresh(self) -> TrainState:
        """The state before the first step, on the host."""
        variables = self.variables
        if variables is None and self.config.init_from:  # it had begun, and was stopped before anything was saved
            variables = tasks.warm_start(self.task)
        if variables is None:
            with timed("first weights"):
                variables = (self.init_program.result() if self.init_program else self.init)(self.init_key)
            epoch = itertools.islice(
                self._batches(0, True), max(1, len(self.splits["train"]) // self.config.batch_size)
            )
            with timed(self.task.initialize_label):
                variables = self.task.initialize(variables, epoch, self.config.seed)
        state = jax.device_get(initial_state(variables, self.optimizer))
        finite.check_finite(state, "before the first step the state is")
        return processes.broadcast_arrays(state)

    def _owed(self, step: int) -> bool:
        """Whether the evaluation after a step that the run goes on from was left for a signal."""
        due = step > 0 and (step % self.config.eval_every == 0 or step == self.config.steps)
        lines = read_lines(self.workdir.path / "metrics.jsonl") if due else []
        found = any(line["step"] == step and line["split"] == self.monitored_split for line in lines)
        return bool(processes.broadcast_json(due and not found))

    @property
    def monitored_split(self) -> str:
        return "validation" if "validation" in self.splits else "test"

    def _check_signal(self) -> None:
        """Raises Stopped if a signal came to the only process; several go on to where they agree."""
        if self.interrupts.has_unsaved_steps and jax.process_count() == 1:
            self.interrupts.check()

    @contextlib.contextmanager
    def _compiling(self, compiled: _Pending | None) -> Iterator[None]:
        """Around the first step, which waits until it is `compiled`."""
        with self.progress.timed("compiling the step"):
            if compiled:
                compiled.result()
            yield
        self.clock.restart()

    def _save(self, state: TrainState, window: MetricsAccumulator, monitored: float | None) -> None:
        """`state` on the devices."""
        if not self.checkpoints:
            return
        state = self.program.collect(state)
        if (
            state.consecutive_skips < finite.MAX_SKIPPED_IN_A_ROW
        ):  # or else the run ends at the next line, and an earlier one is of more use
            with self.clock.spending("save"):
                self.checkpoints.save(state, window.state(), monitored)

    def _check(self, done: int, consecutive_skips: int) -> None:
        """Raises Diverged if so many steps in a row, up to `done`, were skipped that no more are tried."""
        if consecutive_skips < finite.MAX_SKIPPED_IN_A_ROW:
            return
        step = self.checkpoints and self.checkpoints.wait_until_finished()
        kept = "none was saved" if step is None else f"step {step:,}, {self.workdir.path / 'checkpoints' / str(step)}"
        raise finite.Diverged(
            f"from step {done - consecutive_skips + 1:,} on, {finite.MAX_SKIPPED_IN_A_ROW} steps in a row were not "
            "finite\n"
            f"last good checkpoint: {kept}\n"
            "The same command would end here again: try another --workdir with a lower config.optimizer.learning_rate\n"
            "or with config.optimizer.clip_norm=1; config.init_from begins with the weights of this run."
        )

    def _log(self, done: int, window: MetricsAccumulator) -> None:
        figures = window.close()
        self.writer.metrics(done, "train", figures)
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

        name = self.monitored_split
        started = time.perf_counter()
        with self.clock.spending("evaluation"), self.progress.beside(done, f"evaluating on {name}"):
            figures = self.evaluator.evaluate(done, name, self.splits[name], state.variables)
            self.writer.metrics(done, name, figures)
            self.writer.pictures(done, name, self.evaluator.pictures, self.evaluator.code_frequency)
            lines = read_lines(self.workdir.path / "metrics.jsonl")
            plots.save_curves(self.workdir.path / "curves.png", lines, self.task.curves)
        took = time.perf_counter() - started
        self.progress.line(f"step {done:,}, {name}: {format_metrics(figures, self.task.headline)} ({took:.1f} s)")
        return self.task.monitor(figures) if name == "validation" else None
