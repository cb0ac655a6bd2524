"""From step to step: with a batch from the host for each or, on an accelerator, several steps in a call."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.data.batches import batch_rows, process_slice
from vqjax.data.splits import Split
from vqjax.ops.platforms import on_cpu
from vqjax.runs.devices import DeviceLayout
from vqjax.runs.state import TrainState, num_bytes, zeros_like_tree
from vqjax.training.clock import Clock
from vqjax.training.setup import Session, batch_shapes
from vqjax.training.startup import Startup

_MAX_STEPS = 32  # of a call
_MEMORY_SHARE = 0.25  # of what is free of a device's memory, for the data of a run

# (state, steps so far) -> (state, metrics, steps taken)
StepFunction = Callable[[TrainState, int], tuple[TrainState, Any, int]]


def training_steps(
    session: Session,
    state: TrainState,
    take: StepFunction,
    first: int,
    around_first: contextlib.AbstractContextManager,
) -> Iterator[tuple[int, TrainState, Any]]:
    """Yield (step, state, metrics) after each call of a step function, to the last step of the run.

    Args:
      session: of the run.
      state: after `first` steps, on the devices.
      take: takes one step, or several; then the metrics have the steps as their first axis.
      first: steps so far.
      around_first: entered around the first call, which compiles.
    """
    step = first
    while step < session.settings.steps:
        with around_first if step == first else contextlib.nullcontext():
            state, metrics, taken = take(state, step)
        step += taken
        yield step, state, metrics


def fits_on_device(split: Split, state: Any) -> bool:
    """Whether a split is kept on the devices: accelerators, all of this process, with room beside the state.

    Of the state, which is not there yet, shapes are enough.
    """
    if on_cpu() or jax.process_count() > 1 or split.streamed:
        return False
    memory = jax.local_devices()[0].memory_stats() or {}
    free = memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0) - num_bytes(state)
    return num_bytes(split.arrays) <= _MEMORY_SHARE * free


def host_fed_steps(session: Session, update: Callable, first: int, clock: Clock) -> "HostFedSteps":
    """Step function that is fed from the host; `update` is the compiled step."""
    prepare = session.prepare and session.layout.compile(session.prepare, sharded=True)
    fixed = prepare and (lambda step, batch: prepare((step, session.frozen), batch))
    return HostFedSteps(_timed_batches(session.batches(first), clock), session.layout, fixed, update)


def _timed_batches(batches: Iterator[dict], clock: Clock) -> Iterator[dict]:
    """The batches; the time that they are waited for counts as the data's."""
    with contextlib.closing(batches):  # type: ignore[type-var]
        while True:
            with clock.spending("data"):
                batch = next(batches)
            yield batch


class HostFedSteps:
    """Takes one step at a time; the next batches are laid on the devices meanwhile.

    Steps are only dispatched: the host is ahead of the devices by as many batches as steps may be in flight.
    """

    def __init__(self, batches: Iterator[dict], layout: DeviceLayout, prepare: Callable | None, update: Callable):
        """Args:
        batches: of training, from the first step on.
        layout: of the devices.
        prepare: (the state's step, batch) -> batch, compiled; None: nothing is to be prepared.
        update: (state, batch) -> (state, metrics), compiled.
        """
        self._batches, self._layout, self._prepare, self._update = batches, layout, prepare, update

    def compile_ahead(self, session: Session, startup: Startup) -> None:
        """Begin to compile the update in the startup's thread; the first step then finds it in JAX.

        `prepare` is compiled and applied, for the shapes of its results and their layout.
        """
        shapes = batch_shapes(session.splits["train"], session.settings.batch_size)
        batch: Any = self._layout.shard(zeros_like_tree(shapes))
        if self._prepare:
            batch = self._prepare(self._layout.replicate(np.zeros((), np.int32)), batch)
        update: Any = self._update
        startup.submit("step", update.lower(self._layout.shapes(session.abstract_state), batch))

    def __call__(self, state: TrainState, done: int) -> tuple[TrainState, Any, int]:
        batch = self._layout.shard(next(self._batches))
        if self._prepare:
            batch = self._prepare(state.step, batch)
        return *self._update(state, batch), 1


class OnDeviceSteps:
    """Takes several steps in a call, up to where the loop looks up; the metrics have them as their first axis.

    The data lie on the devices, and the host says which rows make a batch: the same ones as from the host. It is one
    program however many steps a call takes, so that a run that goes on in the middle is the same, bit for bit.
    """

    def __init__(self, session: Session):
        settings, train = session.settings, session.splits["train"]
        self._settings, self._size, self._layout = settings, len(train), session.layout
        self._stops = settings.log_every, settings.eval_every, settings.save_every
        self._fixed = {"data": session.layout.replicate(dict(train.arrays)), "frozen": session.frozen}
        several = several_steps(session.step, session.prepare)
        self._update = session.layout.compile(several, donate=True, fixed=True)
        self._example = process_slice(settings.batch_size).astype(np.int32)

    def __call__(self, state: TrainState, done: int) -> tuple[TrainState, Any, int]:
        settings = self._settings
        count = min(_MAX_STEPS, settings.steps - done, *(every - done % every for every in self._stops))
        rows = np.full((settings.batch_size, _MAX_STEPS), -1, np.int32)
        for i in range(count):
            rows[:, i] = batch_rows(self._size, settings.batch_size, done + i, settings.seed, settings.data.shuffle)
        batch = self._layout.shard({"rows": rows, "example": self._example})
        state, metrics = self._update(state, batch, self._fixed)
        return state, metrics, count


def several_steps(step: Callable, prepare: Callable | None) -> Callable:
    """(state, {rows (B, L), example (B,)}, {data, frozen}) -> (state, metrics (L, ...)); rows of -1 are no step's."""

    def steps(state: TrainState, batch: dict, fixed: Mapping) -> tuple[TrainState, Any]:
        def take_one(state: TrainState, rows: jax.Array) -> tuple[TrainState, Any]:
            taken = {name: x[rows] for name, x in fixed["data"].items()} | {"example": batch["example"]}
            return step(state, prepare((state.step, fixed["frozen"]), taken) if prepare else taken)

        def add(i: jax.Array, carried: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
            state, metrics = take_one(carried[0], batch["rows"][:, i])
            return state, jax.tree.map(lambda all_, x: all_.at[i].set(x), carried[1], metrics)

        shapes = jax.eval_shape(take_one, state, batch["rows"][:, 0])[1]
        empty = jax.tree.map(lambda x: jnp.zeros((_MAX_STEPS, *x.shape), x.dtype), shapes)
        last: tuple[TrainState, Any] = jax.lax.fori_loop(0, jnp.sum(batch["rows"][0] >= 0), add, (state, empty))
        return last

    return steps
