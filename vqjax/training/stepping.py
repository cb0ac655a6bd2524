"""How a run gets from step to step: a batch from the host for each, or, on an accelerator, several steps in a call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.data.batches import batch_rows, process_slice
from vqjax.data.splits import Split
from vqjax.ops.platforms import on_cpu
from vqjax.runs.devices import DeviceLayout
from vqjax.runs.state import TrainState, num_bytes, zeros_like_tree
from vqjax.tasks.base import Task

_MOST = 32  # steps of a call
_SHARE = 0.25  # of what is free of a device's memory, for the data of a run

# (state, steps so far) -> (state, metrics, steps taken)
StepFunction = Callable[[TrainState, int], tuple[TrainState, Any, int]]


def fits_on_device(split: Split, state: Any) -> bool:
    """Whether a split is kept on the devices, which are no CPU's and all of this process: it fits beside the state.

    Of the state, which is not there yet, shapes are enough.
    """
    if on_cpu() or jax.process_count() > 1 or split.streamed:
        return False
    memory = jax.local_devices()[0].memory_stats() or {}
    free = memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0) - num_bytes(state)
    return num_bytes(split.arrays) <= _SHARE * free


def batch_shapes(split: Split, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of the global batches of training, for which nothing is read."""
    struct = jax.ShapeDtypeStruct
    arrays = {name: struct((batch_size, *array.shape[1:]), array.dtype) for name, array in split.arrays.items()}
    return {**arrays, "example": struct((batch_size,), np.int32)}


class HostFedSteps:
    """Takes one step at a time, whose metrics are a step's; the next batches are laid on the devices meanwhile.

    As steps are only dispatched, the host is ahead of the devices by as many batches as steps may be in flight.
    """

    def __init__(self, batches: Iterator[dict], program: DeviceLayout, prepare: Callable | None, update: Callable):
        """Args:
        batches: of training, from the first step on.
        program: how they are laid.
        prepare: (the state's step, batch) -> batch, compiled; None: nothing is to be prepared.
        update: (state, batch) -> (state, metrics), compiled.
        """
        self._batches, self._program, self._prepare, self._update = batches, program, prepare, update

    def lower(self, state: TrainState, batch: Mapping[str, Any]) -> jax.stages.Lowered:
        """The update for a state and batches of these shapes; if it is compiled, the first step finds it in JAX.

        `prepare` is compiled and applied, for the shapes of what it makes and how they lie.
        """
        laid: Any = self._program.shard(zeros_like_tree(batch))
        if self._prepare:
            laid = self._prepare(self._program.replicate(np.zeros((), np.int32)), laid)
        lowered: jax.stages.Lowered = self._update.lower(self._program.shapes(state), laid)  # type: ignore[attr-defined]
        return lowered

    def __call__(self, state: TrainState, done: int) -> tuple[TrainState, Any, int]:
        batch = self._program.shard(next(self._batches))
        if self._prepare:
            batch = self._prepare(state.step, batch)
        return *self._update(state, batch), 1


class OnDeviceSteps:
    """Takes several steps in a call, up to where the loop looks up; the metrics have them as their first axis.

    The data lie on the devices, and the host says which rows make a batch: the same ones as from the host. It is one
    program however many steps a call takes, so that a run that goes on in the middle is the same, bit for bit.
    """

    def __init__(
        self,
        task: Task,
        split: Split,
        program: DeviceLayout,
        step: Callable,
        prepare: Callable | None,
        frozen: Any,
        stops: Sequence[int],
    ):
        """Args:
        task: its config says what the batches are.
        split: of training.
        program: how the steps are compiled.
        step, prepare: as of FromHost, not compiled, `prepare` with (step, frozen) in place of the step.
        frozen: the task's, replicated.
        stops: the loop looks up after every so many steps; and at the end.
        """
        self._config, self._size, self._program, self._stops = task.config, len(split), program, stops
        self._fixed = {"data": program.replicate(dict(split.arrays)), "frozen": frozen}
        self._update = program.compile(_several(step, prepare), donate=True, fixed=True)
        self._example = process_slice(self._config.batch_size).astype(np.int32)

    def __call__(self, state: TrainState, done: int) -> tuple[TrainState, Any, int]:
        config = self._config
        count = min(_MOST, config.steps - done, *(every - done % every for every in self._stops))
        rows = np.full((config.batch_size, _MOST), -1, np.int32)
        for i in range(count):
            rows[:, i] = batch_rows(self._size, config.batch_size, done + i, config.seed, config.data.shuffle)
        batch = self._program.shard({"rows": rows, "example": self._example})
        state, metrics = self._update(state, batch, self._fixed)
        return state, metrics, count


def _several(step: Callable, prepare: Callable | None) -> Callable:
    """(state, {rows (B, L), example (B,)}, {data, frozen}) -> (state, metrics (L, ...)); rows of -1 are no step's."""

    def steps(state: TrainState, batch: dict, fixed: dict) -> tuple[TrainState, Any]:
        def one(state: TrainState, rows: jax.Array) -> tuple[TrainState, Any]:
            taken = {name: x[rows] for name, x in fixed["data"].items()} | {"example": batch["example"]}
            return step(state, prepare((state.step, fixed["frozen"]), taken) if prepare else taken)

        def add(i: jax.Array, carried: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
            state, metrics = one(carried[0], batch["rows"][:, i])
            return state, jax.tree.map(lambda all_, x: all_.at[i].set(x), carried[1], metrics)

        shapes = jax.eval_shape(one, state, batch["rows"][:, 0])[1]
        empty = jax.tree.map(lambda x: jnp.zeros((_MOST, *x.shape), x.dtype), shapes)
        found: tuple[TrainState, Any] = jax.lax.fori_loop(0, jnp.sum(batch["rows"][0] >= 0), add, (state, empty))
        return found

    return steps
