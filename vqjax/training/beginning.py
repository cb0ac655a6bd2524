"""Beginning of a run: its first state, restored or fresh, and what takes its steps."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from vqjax.ops.platforms import jit_fast_compile, on_cpu
from vqjax.runs import finite
from vqjax.runs.devices import processes
from vqjax.runs.shared import SharedCheckpoints
from vqjax.runs.state import TrainState, initial_state
from vqjax.system.terminal import timed
from vqjax.tasks import warm_start
from vqjax.training.clock import Clock
from vqjax.training.setup import Session
from vqjax.training.startup import Startup
from vqjax.training.stepping import HostFedSteps, OnDeviceSteps, StepFunction, fits_on_device, host_fed_steps


class Beginning(NamedTuple):
    """A run right before its next step.

    Attributes:
      state: on the host.
      sums: of metrics since the last logged line, as a checkpoint has them; None: none.
      take: the step function.
      startup: has the programs that are being compiled.
    """

    state: TrainState
    sums: Mapping[str, Any] | None
    take: StepFunction
    startup: Startup


def begin(
    session: Session,
    checkpoints: SharedCheckpoints,
    variables: dict[str, Any] | None,
    update: Callable,
    clock: Clock,
    watched: bool,
) -> Beginning:
    """Restore the latest state, or make a fresh one; programs are compiled beside that.

    Args:
      session: of the run.
      checkpoints: of the run.
      variables: to begin with, those of `config.init_from`; None: fresh ones.
      update: the compiled step.
      clock: of the run.
      watched: whether each step is looked at, so that it is taken alone and compiled when it is taken.
    """
    startup, state, sums = Startup(), None, None
    if checkpoints.latest is not None:
        with timed("restoring" if processes.is_leader() else ""):
            state, sums = checkpoints.restore(session.abstract_state)
    elif variables is None and not session.settings.init_from:
        startup.submit("init", session.init.lower(session.keys[0]))
    first = int(state.step) if state else 0
    take: StepFunction
    if watched or not fits_on_device(session.splits["train"], session.abstract_state):
        take = host_fed_steps(session, update, first, clock)
        if not watched and first < session.settings.steps:
            _compile_ahead(session, take, startup)
    else:
        take = OnDeviceSteps(session)
    startup.close()
    return Beginning(state or fresh_state(session, startup, variables), sums, take, startup)


def _compile_ahead(session: Session, take: HostFedSteps, startup: Startup) -> None:
    """Begin to compile the step, where that neither disturbs nor is disturbed.

    On an accelerator XLA compares programs of a step by their time, for which it should have the device alone. Several
    processes compile in step with each other.
    """
    if on_cpu() and jax.process_count() == 1:
        with timed("tracing the step"):
            take.compile_ahead(session, startup)


def fresh_state(session: Session, startup: Startup, variables: dict[str, Any] | None = None) -> TrainState:
    """Make the state before the first step, on the host.

    Args:
      session: of the run.
      startup: may have the program "init".
      variables: to begin with; None: those of `config.init_from`, or fresh ones.

    Raises:
      InputError: it is not finite.
    """
    if variables is None and session.settings.init_from:  # it had begun, and was stopped before anything was saved
        variables = warm_start(session.task)
    if variables is None:
        with timed("first weights"):
            variables = startup.result("init", session.init)(session.keys[0])
        size = max(1, len(session.splits["train"]) // session.settings.batch_size)
        epoch = itertools.islice(session.batches(whole=True), size)
        variables = session.task.initialize(variables, epoch, session.settings.seed)
    init_optimizer = jit_fast_compile(session.optimizer.init, level=0)  # beside the step, which takes longer
    optimizer = session.optimizer._replace(init=init_optimizer)
    state: TrainState = jax.device_get(initial_state(variables, optimizer))
    finite.check_finite(state, "before the first step the state is")
    return processes.broadcast_arrays(state)
