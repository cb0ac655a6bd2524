"""Estimate of a large run before it starts: memory, communication, steps per second, hours, and what limits them.

The step of one device is traced on an abstract mesh, with each operation's plain way, and its cost counted: no
accelerator is needed. docs/scale.md says how well that has been found to hold.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, PartitionSpec
from ml_collections import ConfigDict

from vqjax.config.schema import Settings
from vqjax.ops import axes
from vqjax.ops.platforms import trace_for_accelerator
from vqjax.runs.state import initial_state, num_bytes
from vqjax.system.accelerators import Accelerator
from vqjax.system.errors import InputError
from vqjax.tasks import TASKS, build_task, check_config
from vqjax.tasks.base import Task
from vqjax.tasks.resolve import complete
from vqjax.tasks.stage1 import Stage1
from vqjax.training.cost import Cost, count
from vqjax.training.optimizers import create_optimizer
from vqjax.training.steps import prepare_step, train_step

UTILIZATION = 0.12, 0.47  # of the peak rate of products: the band of published trainings of this kind (docs/scale.md)
_BANDWIDTH = 0.8  # share of the memory's bandwidth that is reached
_LINK = 0.7  # share of a link's rate that collectives reach
_DECODED = 1e8  # pixels of JPEG that a core decodes and scales in a second
_GIB = 2**30


class ImageFacts(NamedTuple):
    """A data set that is not here.

    Attributes:
      shape: (H, W, C) of an image.
      number: images of train.
      num_classes: 0 without labels.
    """

    shape: tuple[int, ...]
    number: int
    num_classes: int


class Cluster(NamedTuple):
    """Where a run would be.

    Attributes:
      devices: of all hosts.
      hosts: that they are spread over.
      accelerator: what each is.
    """

    devices: int
    hosts: int
    accelerator: Accelerator


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes:
      parameters: that a gradient trains.
      flops_per_image: of products in a training step.
      bytes_per_image: of memory traffic in a training step, (least, most).
      memory_per_device: bytes: `state`, `gradients`, `activations` (least, most), `activations_with_remat` or None, and
        the `device`'s own.
      communication: bytes that a device sends in a step, `always` and `with_dead_codes` more.
      input: `bytes_per_second` to each host at the highest rate, and `cores` of a host to decode the images.
      steps_per_second: (least, most).
      hours: (least, most), for all the steps of the config.
      checkpoint_bytes, code_bytes: of a checkpoint, and of the codes of train; None without codes.
      limit: what bounds the rate: "compute", "memory traffic" or "communication"; "memory" if the run does not fit.
    """

    parameters: int
    flops_per_image: float
    bytes_per_image: tuple[float, float]
    memory_per_device: Mapping[str, Any]
    communication: Mapping[str, float]
    input: Mapping[str, float]
    steps_per_second: tuple[float, float]
    hours: tuple[float, float]
    checkpoint_bytes: int
    code_bytes: int | None
    limit: str


def estimate(
    config: ConfigDict, cluster: Cluster, images: ImageFacts | None = None, stage1: ConfigDict | None = None
) -> Estimate:
    """Estimate what a run would cost.

    Args:
      config: of the run.
      cluster: where it would be.
      images: the data set, if it is not here.
      stage1: config of the stage 1 of a second stage, if that is not trained yet.

    Raises:
      InputError: the config is wrong, or the devices do not divide the batch.
    """
    if cluster.devices % cluster.hosts:
        raise InputError(f"--hosts={cluster.hosts}: expected a divisor of the {cluster.devices} devices")
    task, num_images = _task(config, images, stage1)
    settings = task.settings
    if settings.batch_size % cluster.devices:
        raise InputError(
            f"config.batch_size={settings.batch_size}: expected a multiple of the {cluster.devices} devices"
        )
    state, cost = traced_cost(task, cluster.devices)
    remat = _with_remat(settings)
    saving = traced_cost(build_task(remat, task.facts, task.stage1), cluster.devices)[1] if remat else None
    dtype = str(settings.model.values["dtype"])
    seconds, limit = _seconds(cost, cluster, dtype)
    memory = _memory(state, cost, saving, cluster.accelerator)
    size = settings.batch_size // cluster.devices
    rates = 1 / seconds[1], 1 / seconds[0]
    codes = getattr(task, "layout", None) or (task.stage1 and task.stage1.layout)
    pixels = math.prod(task.image_shape)
    return Estimate(
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
        flops_per_image=cost.flops / size,
        bytes_per_image=(cost.traffic[0] / size, cost.traffic[1] / size),
        memory_per_device=memory,
        communication=_communication(cost, cluster),
        input=_input(task, rates[1] * settings.batch_size / cluster.hosts, pixels),
        steps_per_second=rates,
        hours=(settings.steps / rates[1] / 3600, settings.steps / rates[0] / 3600),
        checkpoint_bytes=num_bytes(state),
        code_bytes=codes and num_images * sum(level.length * level.dtype.itemsize for level in codes.levels),
        limit=limit if _fits(memory) else "memory",
    )


def _fits(memory: Mapping[str, Any]) -> bool:
    """Whether a device's memory may be enough."""
    activations = memory["activations_with_remat"] or memory["activations"]
    return bool(memory["state"] + memory["gradients"] + activations[0] <= memory["device"])


def _task(config: ConfigDict, images: ImageFacts | None, stage1: ConfigDict | None) -> tuple[Task, int]:
    """The task of a run whose data set need not be here, and the number of images of train."""
    settings, frozen = check_config(config), None
    if TASKS[settings.task].second_stage and stage1:
        first = check_config(stage1)
        frozen = Stage1.planned(first, "stage1", _facts(first, images))
    if facts := _facts(settings, images):
        if TASKS[settings.task].second_stage:
            frozen = frozen or Stage1(settings.stage1)
        return build_task(settings, facts, frozen), facts["number"]
    completed = complete(config, stage1=frozen)
    task = completed.build()
    task.facts = {"variance": 1.0, **task.facts}
    return task, completed.dataset.sizes["train"]


def _facts(settings: Settings, images: ImageFacts | None) -> dict[str, Any] | None:
    """Facts of a data set that is not here."""
    if images is None:
        return None
    names = tuple(map(str, range(images.num_classes)))
    return {
        "dataset": settings.data.name,
        "image_shape": images.shape,
        "class_names": names,
        "variance": 1.0,
        "number": images.number,
    }


def traced_cost(task: Task, devices: int) -> tuple[Any, Cost]:
    """Abstract state of a run, and the cost of a step of one of its devices."""
    settings = task.settings
    optimizer, schedule = create_optimizer(settings.optimizer, settings.steps)
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: initial_state(task.init(key), optimizer))
    size = settings.batch_size // devices
    microbatches = -(-size // settings.microbatch) if settings.microbatch else 1
    step = train_step(task, optimizer, schedule, key, key, microbatches=microbatches, guarded=False)
    batch = _batch_shapes(task, settings.batch_size, state, key)
    mesh, spec = AbstractMesh((devices,), (axes.BATCH,)), PartitionSpec
    program = jax.shard_map(
        trace_for_accelerator(step),
        mesh=mesh,
        in_specs=(spec(), spec(axes.BATCH)),
        out_specs=(spec(), spec()),
        check_vma=False,
    )
    return state, count(jax.make_jaxpr(program)(state, batch))


def _batch_shapes(task: Task, size: int, state: Any, key: jax.Array) -> Any:
    """Shapes of a prepared global batch."""
    struct = jax.ShapeDtypeStruct
    arrays = {"label": struct((size,), np.int32), "example": struct((size,), np.int32)}
    arrays["image"] = struct((size, *task.image_shape), np.uint8)
    if not task.stage1:
        return arrays
    frozen = task.stage1.task.abstract_variables
    if "evaluation" in task.prepares:
        prepared: Any = jax.eval_shape(prepare_step(task, key), (state.step, frozen), arrays)
        return prepared
    levels = task.stage1.layout.names.items()
    del arrays["image"]
    return arrays | {name: struct((size, *level.shape), level.dtype) for name, level in levels}


def _with_remat(settings: Settings) -> Settings | None:
    """Settings with `remat` in every network of the model that has it; None if none has."""
    model = settings.model
    parts = {name: part for name, part in model.values.items() if isinstance(part, dict) and "remat" in part}
    if not parts or all(part["remat"] for part in parts.values()):
        return None
    values = {**model.values, **{name: {**part, "remat": True} for name, part in parts.items()}}
    return dataclasses.replace(settings, model=model._replace(values=values))


def _seconds(cost: Cost, cluster: Cluster, dtype: str) -> tuple[tuple[float, float], str]:
    """Seconds of a step, (least, most), and what bounds it."""
    device = cluster.accelerator
    compute = [cost.flops / (device.flops[dtype] * share) for share in UTILIZATION[::-1]]
    traffic = [size / (device.bandwidth * 1e9 * _BANDWIDTH) for size in cost.traffic]
    sending = _communication(cost, cluster)["seconds"]
    least = max(compute[0], traffic[0], sending)
    most = max(compute[1], traffic[0]) + sending
    parts = {"compute": compute[0], "memory traffic": traffic[0], "communication": sending}
    return (least, max(most, least)), max(parts, key=lambda name: parts[name])


def _communication(cost: Cost, cluster: Cluster) -> dict[str, float]:
    """Bytes that a device sends in a step, and the seconds they take."""
    share = (cluster.devices - 1) / cluster.devices
    always = cost.communication() * share
    rate = cluster.accelerator.network if cluster.hosts > 1 else cluster.accelerator.link
    seconds = always / (rate * 1e9 * _LINK)
    return {"always": always, "with_dead_codes": cost.communication(True) * share - always, "seconds": seconds}


def _memory(state: Any, cost: Cost, saving: Cost | None, device: Accelerator) -> dict[str, Any]:
    """Bytes of a device's memory by use."""
    return {
        "state": num_bytes(state),
        "gradients": num_bytes(state.params),
        "activations": cost.live,
        "activations_with_remat": saving and saving.live,
        "device": device.memory * _GIB,
    }


def _input(task: Task, images_per_second: float, numbers: int) -> dict[str, float]:
    """What a host reads, at the highest rate; the cores are those that decode images as large as those of training."""
    if task.stage1 and "evaluation" not in task.prepares:
        length = sum(level.length * level.dtype.itemsize for level in task.stage1.layout.levels)
        return {"bytes_per_second": images_per_second * length, "cores": 0.0}
    pixels = numbers / task.image_shape[-1]
    return {"bytes_per_second": images_per_second * numbers, "cores": images_per_second * pixels / _DECODED}
