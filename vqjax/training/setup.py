"""Setting up a run, once: from a config and a workdir to everything that the loop, tests and benchmarks step with."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from vqjax.config.schedules import Schedule
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.data.batches import batches
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.ops.platforms import jit_fast_compile
from vqjax.runs import devices
from vqjax.runs.devices import processes
from vqjax.runs.shared import shared_facts
from vqjax.runs.state import TrainState, check_memory, initial_state
from vqjax.runs.trackers import check_trackers
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.terminal import timed
from vqjax.tasks import Completed, complete
from vqjax.tasks.base import Task
from vqjax.tasks.stage1 import Stage1
from vqjax.training import microbatch
from vqjax.training.optimizers import create_optimizer
from vqjax.training.steps import gradient_step, prepare_step, train_step


class Plan(NamedTuple):
    """A run that is checked, before its data is read.

    Attributes:
      settings: of the run, complete.
      dataset: opened.
      task: built.
      workdir: its place.
      layout: of the devices.
      optimizer, schedule: and its learning rate as a function of the step.
      changes: {key: (old, new)} of the config against that of the run that lives there.
      begun: whether it has facts there.
    """

    settings: Settings
    dataset: Dataset
    task: Task
    workdir: Workdir | None
    layout: devices.DeviceLayout
    optimizer: optax.GradientTransformation
    schedule: Schedule
    changes: Mapping[str, tuple[Any, Any]]
    begun: bool

    def record(self) -> Workdir:
        """Write what the run is to its workdir, and pin its stage 1; returns the workdir."""
        assert self.workdir
        self.workdir.create(self.settings.plain, self.task.facts, devices.describe(self.layout))
        if self.task.stage1 and processes.is_leader():
            self.task.stage1.pin(self.workdir.path)
        return self.workdir


class Session(NamedTuple):
    """A run that is set up.

    Attributes:
      settings: of the run.
      task: with the facts of the data.
      dataset: opened.
      splits: read.
      layout: of the devices.
      optimizer, schedule: and its learning rate as a function of the step.
      keys: PRNG keys of the weights, of `prepare`, and of the step.
      init: the task's `init`, compiled when it is called.
      abstract_state: names, shapes and dtypes of the state.
      step: (state, batch) -> (state, metrics) of one device.
      unguarded_step: the same without the guard against what is not finite, for `--debug_nans`.
      prepare: ((step, frozen), batch) -> batch of one device; None: nothing is to be prepared.
      frozen: variables of stage 1 for `prepare`, on the devices.
    """

    settings: Settings
    task: Task
    dataset: Dataset
    splits: Mapping[str, Split]
    layout: devices.DeviceLayout
    optimizer: optax.GradientTransformation
    schedule: Schedule
    keys: tuple[jax.Array, ...]
    init: Any
    abstract_state: TrainState
    step: Callable
    unguarded_step: Callable
    prepare: Callable | None
    frozen: Any

    def batches(self, first: int = 0, whole: bool = False) -> Iterator[dict]:
        """Batches of training from a step on: this process's part of each, or the whole of each."""
        settings, part = self.settings, () if whole else (jax.process_index(), jax.process_count())
        return batches(self.splits["train"], settings.batch_size, settings.seed, settings.data.shuffle, first, *part)


def plan(settings: Settings, workdir: Workdir | None = None, stage1: Stage1 | None = None) -> Plan:
    """Check everything about a run that can be checked before its data is read.

    Args:
      settings: of the run.
      workdir: its place, where it may have begun.
      stage1: the one of the config, if it is planned and not there yet.

    Raises:
      InputError: something is wrong.
    """
    facts = shared_facts(workdir) if workdir else None
    return plan_completed(complete(settings, facts, stage1), workdir, facts)


def plan_completed(
    completed: Completed, workdir: Workdir | None = None, facts: Mapping[str, Any] | None = None
) -> Plan:
    """Check everything as `plan` does of a run whose config is complete; `facts` are run.json's, if it has begun."""
    settings = completed.settings
    check_trackers(settings.tracker)
    optimizer, schedule = create_optimizer(settings.optimizer, settings.steps)
    layout = devices.layout_for_batch(settings.parallel, settings.batch_size)
    changes = workdir.reconcile(settings.plain) if workdir else {}
    task = completed.build(facts)
    microbatch.check_microbatch(settings.microbatch, task.abstract_variables)
    begun = facts is not None
    return Plan(settings, completed.dataset, task, workdir, layout, optimizer, schedule, changes, begun)


def setup(planned: Plan) -> Session:
    """Read a run's data and put together what it steps with. Raises InputError if the data or the memory is unfit."""
    settings, dataset, task, layout = planned.settings, planned.dataset, planned.task, planned.layout
    with timed("reading the data"):
        splits = processes.leader_first(functools.partial(datasets.load_splits, dataset, read=task.read))
    if planned.begun:
        datasets.check_same_images(dataset, task.facts)
    else:
        task.facts = describe(task, dataset, splits)
    once = functools.partial(jit_fast_compile, level=0)
    split_key = once(lambda seed: tuple(jax.random.split(jax.random.key(seed), 4)))
    keys = split_key(np.uint32(settings.seed))
    init = once(task.init)  # traced once, for its shapes too
    begin = functools.partial(initial_state, optimizer=planned.optimizer)
    abstract_state = jax.eval_shape(begin, init.eval_shape(keys[0]))
    check_memory(abstract_state)
    prepare = prepare_step(task, keys[1]) if "train" in task.prepares else None
    microbatches = _num_microbatches(task, layout, splits["train"], abstract_state, prepare)
    make_step = functools.partial(train_step, task, planned.optimizer, planned.schedule, *keys[2:])
    return Session(
        settings=settings,
        task=task,
        dataset=dataset,
        splits=splits,
        layout=layout,
        optimizer=planned.optimizer,
        schedule=planned.schedule,
        keys=keys,
        init=init,
        abstract_state=abstract_state,
        step=make_step(microbatches=microbatches),
        unguarded_step=make_step(guarded=False),
        prepare=prepare,
        frozen=layout.replicate(task.frozen),
    )


def batch_shapes(split: Split, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of batches of training, for which nothing is read."""
    struct = jax.ShapeDtypeStruct
    arrays = {name: struct((batch_size, *array.shape[1:]), array.dtype) for name, array in split.arrays.items()}
    return {**arrays, "example": struct((batch_size,), np.int32)}


def _num_microbatches(
    task: Task, layout: devices.DeviceLayout, train: Split, state: TrainState, prepare: Callable | None
) -> int:
    """Number of microbatches of a device, by the shapes of what the step works on."""
    size = task.settings.batch_size // len(layout.devices)
    batch: Any = batch_shapes(train, size)
    key = jax.eval_shape(lambda: jax.random.key(0))
    if prepare:
        frozen = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), dict(task.frozen))
        batch = jax.eval_shape(prepare, (state.step, frozen), batch)
    arguments = state.params, state.extra, state.step, key, batch
    return microbatch.num_microbatches(task.settings.microbatch, size, state.variables, gradient_step(task), arguments)


def describe(task: Task, dataset: Dataset, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Facts of a new run, with those that only the data itself and stage 1 can tell."""
    facts = {**task.facts, "hash": datasets.dataset_hashes(dataset)}
    if "image" in splits["train"].arrays:
        facts["variance"] = splits["train"].variance()
        if not facts["variance"]:
            raise InputError(
                f"config.data.name={dataset.data.name!r}: all pixels of train are alike, there is nothing to learn"
            )
    return {**facts, **task.stage1.identity} if task.stage1 else facts
