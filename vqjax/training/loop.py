"""The training loop, the same for every task: (config, workdir) -> a workdir that describes itself."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.schema import Settings
from vqjax.runs import devices, finite
from vqjax.runs.devices import processes
from vqjax.runs.shared import SharedCheckpoints
from vqjax.runs.state import TrainState
from vqjax.runs.workdir import Workdir
from vqjax.system.lock import lock_directory
from vqjax.system.signals import SignalHandler, Stopped, stop_message
from vqjax.tasks import warm_start
from vqjax.training import debugging, profiling
from vqjax.training.beginning import Beginning, begin
from vqjax.training.clock import Clock
from vqjax.training.ending import finish, is_finished
from vqjax.training.introduction import introduce, introduce_state
from vqjax.training.recorder import Recorder
from vqjax.training.setup import Plan, Session, plan, setup
from vqjax.training.stepping import training_steps


def train(
    config: ConfigDict | Mapping[str, Any],
    workdir: str | Path,
    debug_nans: bool = False,
    profile: int = 0,
    next_commands: Sequence[str] | None = None,
    on_step: Callable[[int], Any] = lambda step: None,
) -> int:
    """Train, or go on training, the run that `config` describes in `workdir`.

    Args:
      config: of the run.
      workdir: its place.
      debug_nans: the first step that is not finite ends the run, and it is said which operation was the first.
      profile: a trace of so many steps is written, to `profile/` in the workdir.
      next_commands: to show at the end; None: those of the task.
      on_step: called with the number of steps so far whenever steps were taken: after each or, on an accelerator,
        after several.

    Returns:
      The exit status: 0; 3 if the run diverged; or 128 + the signal that stopped it after it had saved its last
      completed step.

    Raises:
      InputError: before anything is compiled or written, if the config, the data or the workdir is unfit, or another
        process trains there; or the weights to begin with are not finite.
    """
    path, settings = Workdir(workdir).path, Settings.of(config)
    devices.set_cpu_device_count(settings.batch_size)  # before JAX starts
    with SignalHandler() as signals, processes.leader_directory(path) as directory, lock_directory(Path(directory)):
        planned = plan(settings, Workdir(directory))
        if is_finished(planned):
            return 0
        introduce(planned)
        try:
            stop = _train(planned, signals, debug_nans, profile, next_commands, on_step)
        except finite.Diverged as error:
            print(f"error: {error}", file=sys.stderr)
            return 3
        return 128 + stop if stop else 0  # also after one that came in the last step


def _train(
    planned: Plan,
    signals: SignalHandler,
    debug_nans: bool,
    profile: int,
    next_commands: Sequence[str] | None,
    on_step: Callable,
) -> int:
    """Train a run to its last step or a signal, whose number is returned; 0 if none came."""
    variables = warm_start(planned.task) if planned.settings.init_from and not planned.begun else None
    session, clock = setup(planned), Clock()
    workdir = planned.record()
    update = session.layout.compile(session.step, donate=True)
    if debug_nans:
        update = debugging.watch_steps(update, session.unguarded_step, session.layout)
    trace = profiling.profiled(update, workdir.path / "profile", profile)
    with trace as update, SharedCheckpoints(workdir) as checkpoints:
        run = begin(session, checkpoints, variables, update, clock, debug_nans or bool(profile))
        introduce_state(planned, session, run.state)
        with Recorder(session, workdir, checkpoints, signals, int(run.state.step), run.sums, clock) as recorder:
            stop, finished = _take_steps(session, run, recorder, signals, on_step)
    signals.has_unsaved_steps = False
    if finished:
        finish(session, workdir, recorder.evaluator, next_commands)
    else:
        print(stop_message(stop))
    return stop


def _take_steps(
    session: Session, run: Beginning, recorder: Recorder, signals: SignalHandler, on_step: Callable
) -> tuple[int, bool]:
    """The loop: step, log, evaluate, save, stop. Returns the signal that came, or 0, and whether it is finished."""
    settings, first, stop = session.settings, int(run.state.step), 0
    agree = processes.MaxOverProcesses(session.layout)
    initial: TrainState = session.layout.replicate(run.state)
    if recorder.evaluation_pending(first) and (monitored := recorder.evaluate(first, initial)) is not None:
        recorder.save(initial, monitored)
    compiling = recorder.first_call(run.startup)
    for step, state, metrics in training_steps(session, initial, run.take, first, compiling):
        signals.has_unsaved_steps = True
        recorder.add(step, metrics)
        on_step(step)
        last, monitored, interrupted = step == settings.steps, None, False
        if logged := step % settings.log_every == 0 or last:
            recorder.log(step, state)
        if step % settings.eval_every == 0 or last:
            try:
                monitored = recorder.evaluate(step, state)
            except Stopped:  # it is made when the run goes on
                interrupted = True
        stop, save = agree(signals.signal, signals.asked_to_save())  # looked at once: a later one ends the next step
        if step % settings.save_every == 0 or last or stop or save or monitored is not None:
            recorder.save(state, monitored)
        if logged:
            recorder.log_time(step)
        recorder.show(step)
        if stop and (interrupted or not last):
            recorder.stopped()
            return stop, False
    return stop, True
