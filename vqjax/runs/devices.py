"""How a per-device function becomes a program for all local devices.

A per-device function takes (replicated, batch) and gives results that are the same on every device
or, with `sharded=True`, a share of the batch. Inside, the devices (by default all of all processes) are
the axis `axes.BATCH`. On the host, a process has the rows of the batch that its own devices get.
`jax.pmap` and `jax.jit(jax.shard_map)` are two ways to compile it; both give the same numbers.
"""

import abc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from vqjax.data.batches import evaluation_batches
from vqjax.data.splits import Split
from vqjax.ops import axes
from vqjax.ops.platforms import on_cpu, trace_for
from vqjax.system import cores
from vqjax.system.errors import InputError


class DeviceLayout(abc.ABC):
    """A way to compile per-device functions for devices, by default all of all processes, and to lay arrays on them."""

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        self.devices = list(devices or jax.devices())
        self._local = [device for device in self.devices if device.process_index == jax.process_index()]

    def _known(self, function: Callable) -> Callable:
        return trace_for(self.devices[0], function)

    @abc.abstractmethod
    def compile(self, function: Callable, donate: bool = False, sharded: bool = False, fixed: bool = False) -> Callable:
        """`donate`: the first argument's memory may be reused for the result; `fixed`: a third is replicated too."""

    @abc.abstractmethod
    def replicate(self, tree: Any) -> Any:
        """A host tree -> the same on every device."""

    def shapes(self, tree: Any) -> Any:
        """What `replicate` makes of a tree, be it of shapes alone: shapes, and how they lie."""
        laid = self.replicate(np.zeros(()))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*laid.shape, *x.shape), x.dtype, sharding=laid.sharding), tree
        )

    @abc.abstractmethod
    def shard(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The rows of the batch on the host that are this process's -> each device's share, in order."""

    @abc.abstractmethod
    def collect(self, tree: Any) -> Any:
        """A replicated tree -> NumPy arrays on the host, from the first device."""

    @abc.abstractmethod
    def gather(self, tree: Any) -> Any:
        """A sharded result -> NumPy arrays on the host, in order. Only where all devices are this process's."""


class Pmap(DeviceLayout):
    """`jax.pmap`: every array has a leading axis of devices."""

    def compile(self, function: Callable, donate: bool = False, sharded: bool = False, fixed: bool = False) -> Callable:
        return jax.pmap(self._known(function), axes.BATCH, devices=self.devices, donate_argnums=(0,) if donate else ())

    def replicate(self, tree: Any) -> Any:
        # It lies as pmap's results do: from any other layout the second step is compiled again.
        laid = NamedSharding(Mesh(np.array(self._local), (axes.BATCH,)), PartitionSpec(axes.BATCH))
        shares = len(self._local)
        return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (shares, *np.shape(x))), laid), tree)

    def shard(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        shares = len(self._local)
        return {name: x.reshape(shares, len(x) // shares, *x.shape[1:]) for name, x in batch.items()}

    def collect(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: x[0], _first(tree))

    def gather(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)


class ShardMap(DeviceLayout):
    """`jax.jit(jax.shard_map)` over a mesh of one axis: global arrays with shardings."""

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        super().__init__(devices)
        shape = (len(self.devices),)
        mesh = jax.make_mesh(shape, (axes.BATCH,), axis_types=(AxisType.Auto,), devices=self.devices)
        self._mesh = mesh
        self._replicated, self._sharded = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (axes.BATCH,)))

    def compile(self, function: Callable, donate: bool = False, sharded: bool = False, fixed: bool = False) -> Callable:
        program = jax.shard_map(
            self._known(function),
            mesh=self._mesh,
            in_specs=(PartitionSpec(), PartitionSpec(axes.BATCH), *fixed * (PartitionSpec(),)),
            out_specs=PartitionSpec(axes.BATCH) if sharded else PartitionSpec(),
            check_vma=False,  # gradients of replicated parameters stay per device, as under pmap, until the pmean
        )
        return jax.jit(program, donate_argnums=(0,) if donate else ())

    def replicate(self, tree: Any) -> Any:
        return jax.device_put(tree, self._replicated)

    def shard(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        return {name: jax.make_array_from_process_local_data(self._sharded, x) for name, x in batch.items()}

    def collect(self, tree: Any) -> Any:
        return _first(tree)

    def gather(self, tree: Any) -> Any:
        return jax.tree.map(np.asarray, tree)


def _first(tree: Any) -> Any:
    """A tree of arrays as the first device of this process has it, on the host; all are on their way at once."""
    shares = jax.tree.map(lambda x: x.addressable_data(0), tree)
    if not on_cpu():  # whose memory is the host's
        for share in jax.tree.leaves(shares):
            share.copy_to_host_async()
    return jax.tree.map(np.asarray, shares)


_IN_FLIGHT = 8

PARALLEL: dict[str, type[DeviceLayout]] = {"pmap": Pmap, "shard_map": ShardMap}


_asked = True  # whether the number of CPU devices is a user's, or JAX's own


def set_cpu_device_count(*batch_sizes: Any) -> None:
    """Before JAX starts: as many CPU devices as there are cores, or as many as divide the batches that are named.

    What is no convolution then runs on all cores, and what a device works on is smaller. Where JAX has started, or a
    number is in XLA_FLAGS, in JAX_NUM_CPU_DEVICES or in JAX's config, that one stands; and in one of several
    processes, which may share the cores. GPUs are not concerned. A size that is no number is refused elsewhere.
    """
    global _asked
    flagged = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    named = flagged or jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    if named or jax.distributed.is_initialized():
        return
    sizes = (size for size in batch_sizes if isinstance(size, int))
    try:
        jax.config.update("jax_num_cpu_devices", _dividing(cores.num_cores(), *sizes))
    except RuntimeError:  # JAX has started
        return
    _asked = False


def _dividing(most: int, *batch_sizes: int) -> int:
    """The largest number up to one that divides all batches."""
    return next(count for count in range(most, 0, -1) if not any(size % count for size in batch_sizes))


def devices_for_batch(batch_size: int) -> list[jax.Device]:
    """The devices of all processes, which share the global batch: of those of `use_cores` as many as divide it.

    Raises InputError unless the others do.
    """
    found = jax.devices()
    if not _asked and on_cpu():
        return found[: _dividing(len(found), batch_size)]
    if batch_size % len(found):
        raise InputError(f"config.batch_size={batch_size}: expected a multiple of the {len(found)} devices")
    return found


def describe(layout: DeviceLayout) -> str:
    """Devices of a run for a person: "2 x cpu in 2 processes"."""
    count = jax.process_count()
    together = f" in {count} processes" if count > 1 else ""
    return f"{len(layout.devices)} x {jax.devices()[0].device_kind}{together}"


def max_in_flight() -> int:
    """Steps that may be dispatched ahead of the one that is waited for.

    Without a bound, many CPU devices deadlock, and those of several processes with any.
    """
    return 0 if jax.process_count() > 1 and on_cpu() else _IN_FLIGHT


def round_up_to_devices(batch_size: int) -> int:
    """The least multiple of the local devices that is not below `batch_size`."""
    devices = jax.local_device_count()
    return -(-batch_size // devices) * devices


class Mapper:
    """Applies functions to all examples of a split, on all devices of this process.

    A function is compiled once for each size of batches; those are powers of two up to the most that is asked for,
    rounded up to the devices.
    """

    def __init__(self, fixed: Any, how: str):
        """Args:
        fixed: what the functions have beside the examples, on the host.
        how: an entry of PARALLEL.
        """
        self._program = PARALLEL[how](jax.local_devices())
        self._fixed, self._compiled = self._program.replicate(fixed), dict[Callable, Callable]()

    def parts(self, function: Callable, split: Split, batch_size: int, title: str) -> Iterator[Any]:
        """A function's results batch by batch, in order, with a progress bar if it takes long.

        Args:
          function: (fixed, batch) -> a tree of arrays with the batch's leading axis.
          split: of N examples, 1 or more.
          batch_size: examples at a time, at most, but for the rounding.
          title: of the progress bar.

        Yields:
          Trees of NumPy arrays, together of N.
        """
        program = self._program
        if function not in self._compiled:
            self._compiled[function] = program.compile(function, sharded=True)
        compiled, size = self._compiled[function], min(batch_size, 1 << (len(split) - 1).bit_length())
        with tqdm(total=len(split), desc=title, unit=" images", disable=None, delay=2) as progress:
            for batch in evaluation_batches(split, round_up_to_devices(size)):
                results = program.gather(compiled(self._fixed, program.shard(batch)))
                yield jax.tree.map(lambda x, real=batch["real"]: x[real], results)
                progress.update(int(batch["real"].sum()))

    def __call__(self, function: Callable, split: Split, batch_size: int, title: str) -> Any:
        """All results of `parts` in one: the tree, NumPy arrays of N."""
        found = list(self.parts(function, split, batch_size, title))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def map_split(function: Callable, fixed: Any, split: Split, batch_size: int, how: str, title: str) -> Any:
    """A function that is applied once; the arguments are those of `Mapper` and of its call."""
    return Mapper(fixed, how)(function, split, batch_size, title)
