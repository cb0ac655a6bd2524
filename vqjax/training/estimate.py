"""Estimate of a large run before it starts: memory, communication, steps per second, hours, and what limits them.

The step of one device is traced on an abstract mesh, with each operation's plain way, and its cost counted: no
accelerator is needed. docs/scale.md says how well that has been found to hold.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, PartitionSpec

from vqjax.config.plain import chosen_sections
from vqjax.config.schema import Settings
from vqjax.ops import axes
from vqjax.ops.platforms import trace_for_accelerator
from vqjax.runs.state import initial_state, num_bytes
from vqjax.system.accelerators import Accelerator
from vqjax.system.errors import InputError
from vqjax.tasks.base import Task
from vqjax.training.cost import Cost, count
from vqjax.training.optimizers import create_optimizer
from vqjax.training.planned import PlannedRun
from vqjax.training.rates import DECODED, Cluster, step_seconds
from vqjax.training.steps import prepare_step, train_step

_GIB = 2**30
_SPARE = 1.5  # times the activations without fusion, which XLA's own programs take at most (docs/scale.md)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Cost of a run.

    Attributes:
      parameters: number of those that a gradient trains.
      flops_per_image: of products in a training step.
      bytes_per_image: of memory traffic in a training step, (least, most).
      memory_per_device: bytes: `state`, `gradients`, the `frozen` stage 1, `activations` (least, most), the same
        `with_remat` and `without_remat`, None where the model has no choice, and the `device`'s own.
      communication: bytes that a device sends in a step, `always`, and `with_dead_codes` so many more.
      input: `bytes_per_second` to each host at the highest rate, and `cores` of a host that decode as fast, (least,
        most).
      steps_per_second: (least, most).
      hours: (least, most), for all steps of the config.
      checkpoint_bytes, code_bytes: of a checkpoint, and of the codes of train; None without codes.
      limit: name of what bounds the rate; "memory" if the run does not fit.
    """

    parameters: int
    flops_per_image: float
    bytes_per_image: tuple[float, float]
    memory_per_device: Mapping[str, Any]
    communication: Mapping[str, float]
    input: Mapping[str, Any]
    steps_per_second: tuple[float, float]
    hours: tuple[float, float]
    checkpoint_bytes: int
    code_bytes: int | None
    limit: str

    @property
    def fits(self) -> tuple[bool, bool]:
        """Whether the run fits a device's memory in the best case, and in the worst."""
        memory = self.memory_per_device
        fixed = memory["state"] + memory["gradients"] + memory["frozen"]
        least, most = memory["activations"]
        return fixed + least <= memory["device"], fixed + _SPARE * most <= memory["device"]


def estimate(run: PlannedRun, cluster: Cluster) -> Estimate:
    """Estimate the cost of a run.

    Args:
      run: planned.
      cluster: where it would be.

    Raises:
      InputError: the devices do not divide the batch, or the hosts the devices.
    """
    task, settings = run.task, run.task.settings
    _check_division(settings.batch_size, cluster)
    state, cost = traced_cost(task, cluster.devices)
    pixels = _decoded_pixels(run) * settings.batch_size / cluster.hosts
    dtype = str(settings.model.values["dtype"])
    seconds, limit = step_seconds(cost, cluster, dtype, pixels)
    size, rates = settings.batch_size // cluster.devices, (1 / seconds[1], 1 / seconds[0])
    codes = getattr(task, "layout", None) or (task.stage1 and task.stage1.layout)
    always = cluster.sent(cost.communication())
    found = Estimate(
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
        flops_per_image=cost.flops / size,
        bytes_per_image=(cost.traffic[0] / size, cost.traffic[1] / size),
        memory_per_device=_memory(task, state, cost, cluster),
        communication={"always": always, "with_dead_codes": cluster.sent(cost.communication(True)) - always},
        input={
            "bytes_per_second": rates[1] * _bytes_read(run) * settings.batch_size / cluster.hosts,
            "cores": (rates[1] * pixels / DECODED[0], rates[1] * pixels / DECODED[1]),
        },
        steps_per_second=rates,
        hours=(settings.steps / rates[1] / 3600, settings.steps / rates[0] / 3600),
        checkpoint_bytes=num_bytes(state),
        code_bytes=codes and run.images.number * _code_bytes(codes),
        limit=limit,
    )
    return found if found.fits[0] else dataclasses.replace(found, limit="memory")


def _check_division(batch_size: int, cluster: Cluster) -> None:
    """Raise InputError, with the line of `train`, if the devices do not divide the batch, or the hosts the devices."""
    if cluster.devices % cluster.hosts:
        raise InputError(f"--hosts={cluster.hosts}: expected a divisor of the {cluster.devices} devices")
    if batch_size % cluster.devices:
        raise InputError(f"config.batch_size={batch_size}: expected a multiple of the {cluster.devices} devices")


def traced_cost(task: Task, devices: int) -> tuple[Any, Cost]:
    """Trace the step of one of the devices of a run, with what prepares its batch.

    Returns:
      The abstract state of the run, and the step's cost.
    """
    settings = task.settings
    optimizer, schedule = create_optimizer(settings.optimizer, settings.steps)
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: initial_state(task.init(key), optimizer))
    size = settings.batch_size // devices
    microbatches = -(-size // settings.microbatch) if settings.microbatch else 1
    step = train_step(task, optimizer, schedule, key, key, microbatches=microbatches)
    prepare = prepare_step(task, key) if "train" in task.prepares else lambda fixed, batch: batch

    def prepared_step(state: Any, frozen: Any, batch: Any) -> Any:
        return step(state, prepare((state.step, frozen), batch))

    mesh, spec = AbstractMesh((devices,), (axes.BATCH,)), PartitionSpec
    program = jax.shard_map(
        trace_for_accelerator(prepared_step),
        mesh=mesh,
        in_specs=(spec(), spec(), spec(axes.BATCH)),
        out_specs=(spec(), spec()),
        check_vma=False,
    )
    batch = _batch_shapes(task, settings.batch_size)
    return state, count(jax.make_jaxpr(program)(state, _frozen_shapes(task), batch))


def _frozen_shapes(task: Task) -> Any:
    """Shapes of the variables of stage 1 that the devices hold to prepare batches."""
    return task.stage1.task.abstract_variables if task.stage1 and "train" in task.prepares else {}


def _batch_shapes(task: Task, size: int) -> dict[str, Any]:
    """Shapes of a global batch before it is prepared."""
    struct = jax.ShapeDtypeStruct
    arrays = {"label": struct((size,), np.int32), "example": struct((size,), np.int32)}
    if _reads_images(task):
        return {**arrays, "image": struct((size, *task.image_shape), np.uint8)}
    levels = task.stage1.layout.names.items()
    return arrays | {name: struct((size, *level.shape), level.dtype) for name, level in levels}


def _reads_images(task: Task) -> bool:
    """Whether batches of training are images; those of a second stage may be the codes that were made once."""
    of_codes = task.stage1 and task.settings.model.values.get("inputs") in (None, "codes")
    return not of_codes or any(task.augmentation.values())


def _memory(task: Task, state: Any, cost: Cost, cluster: Cluster) -> dict[str, Any]:
    """Bytes of a device's memory by their use."""
    gradients, own = num_bytes(state.params), _remat(task.settings)

    def activations(cost: Cost) -> list[float]:
        return [max(0.0, size - gradients) for size in cost.live]

    with_remat, without = (
        None if own is None else activations(cost if own == {remat} else _cost_with_remat(task, cluster.devices, remat))
        for remat in (True, False)
    )
    return {
        "state": num_bytes(state),
        "gradients": gradients,
        "frozen": num_bytes(_frozen_shapes(task)),
        "activations": activations(cost),
        "with_remat": with_remat,
        "without_remat": without,
        "device": cluster.accelerator.memory * _GIB,
    }


def _remat(settings: Settings) -> set[bool] | None:
    """Values of `remat` in the networks that the model uses; None if none has it."""
    model = settings.model.values
    found = {model[name]["remat"] for name in chosen_sections(model) if "remat" in model[name]}
    return found or None


def _cost_with_remat(task: Task, devices: int, remat: bool) -> Cost:
    """Cost of the step with `remat` in every network that has it, or in none."""
    model = task.settings.model
    parts = {name: part for name, part in model.values.items() if isinstance(part, dict) and "remat" in part}
    values = {**model.values, **{name: {**part, "remat": remat} for name, part in parts.items()}}
    settings = dataclasses.replace(task.settings, model=model._replace(values=values))
    return traced_cost(type(task)(settings, task.facts, task.stage1), devices)[1]


def _bytes_read(run: PlannedRun) -> float:
    """Bytes of an image, or of its codes, as a device gets it."""
    if _reads_images(run.task):
        return float(math.prod(run.images.shape))
    return float(_code_bytes(run.task.stage1.layout))


def _code_bytes(layout: Any) -> int:
    """Bytes of the codes of an image."""
    return sum(level.length * level.dtype.itemsize for level in layout.levels)


def _decoded_pixels(run: PlannedRun) -> float:
    """Pixels of an image file; 0 where none is decoded while the run trains."""
    if run.held or not _reads_images(run.task):
        return 0.0
    return run.images.file_pixels or float(math.prod(run.images.shape[:-1]))


def default_cores(devices: int, hosts: int) -> int:
    """Number of cores of a usual host: 12 for each of its devices."""
    return 12 * max(1, devices // hosts)


def default_hosts(devices: int, accelerator: Accelerator) -> int:
    """Number of usual hosts for so many devices."""
    return math.gcd(devices, -(-devices // accelerator.per_host)) if devices > accelerator.per_host else 1
