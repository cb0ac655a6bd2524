"""How a per-device function becomes a program for all devices.

A per-device function takes (replicated, batch) and returns results that are the same on every device or, with
`sharded=True`, a slice of the batch. Inside it the devices (by default all devices of all processes) are the axis
`axes.BATCH`. On the host a process has the rows of the batch that its own devices get. `jax.pmap` and
`jax.jit(jax.shard_map)` are two ways to compile it; both give the same numbers.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vqjax.config.check import check_name
from vqjax.ops import axes
from vqjax.ops.platforms import on_cpu, trace_for
from vqjax.runs.devices.counts import devices_for_batch


class DeviceLayout(abc.ABC):
    """A way to compile per-device functions for devices, and to lay arrays on them."""

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        """`devices` are by default all devices of all processes."""
        self.devices = list(devices or jax.devices())
        self._local = [device for device in self.devices if device.process_index == jax.process_index()]

    def _traceable(self, function: Callable) -> Callable:
        """Return a function that is traced for the platform of these devices."""
        return trace_for(self.devices[0], function)

    @abc.abstractmethod
    def compile(self, function: Callable, donate: bool = False, sharded: bool = False, fixed: bool = False) -> Callable:
        """Compile a per-device function.

        Args:
          function: (replicated, batch) or, if `fixed`, (replicated, batch, replicated) -> results.
          donate: let the results reuse the memory of the first argument.
          sharded: the results are a slice of the batch on each device; else they are replicated.
          fixed: there is a third argument, replicated too.
        """

    @abc.abstractmethod
    def replicate(self, tree: Any) -> Any:
        """Lay a host tree on every device."""

    def shapes(self, tree: Any) -> Any:
        """Return shapes and shardings of `replicate` of a tree, be it of shapes alone."""
        laid = self.replicate(np.zeros(()))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*laid.shape, *x.shape), x.dtype, sharding=laid.sharding), tree
        )

    @abc.abstractmethod
    def shard(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Lay this process's rows of the batch on its devices, in order, a slice on each."""

    @abc.abstractmethod
    def collect(self, tree: Any) -> Any:
        """Return a replicated tree as NumPy arrays on the host, from the first device."""

    @abc.abstractmethod
    def gather(self, tree: Any) -> Any:
        """Return a sharded result as NumPy arrays on the host, in order. All devices must be of this process."""


class Pmap(DeviceLayout):
    """`jax.pmap`: every array has a leading axis of devices."""

    def compile(self, function: Callable, donate: bool = False, sharded: bool = False, fixed: bool = False) -> Callable:
        donated = (0,) if donate else ()
        return jax.pmap(self._traceable(function), axes.BATCH, devices=self.devices, donate_argnums=donated)

    def replicate(self, tree: Any) -> Any:
        # As the results of pmap lie: with any other sharding the second step is compiled again.
        sharding = NamedSharding(Mesh(np.array(self._local), (axes.BATCH,)), PartitionSpec(axes.BATCH))
        count = len(self._local)
        return jax.tree.map(lambda x: jax.device_put(np.broadcast_to(x, (count, *np.shape(x))), sharding), tree)

    def shard(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(self._local)
        return {name: x.reshape(count, len(x) // count, *x.shape[1:]) for name, x in batch.items()}

    def collect(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: x[0], _first_device(tree))

    def gather(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)


class ShardMap(DeviceLayout):
    """`jax.jit(jax.shard_map)` over a mesh of one axis: global arrays with shardings."""

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        super().__init__(devices)
        shape = (len(self.devices),)
        self._mesh = jax.make_mesh(shape, (axes.BATCH,), axis_types=(AxisType.Auto,), devices=self.devices)
        self._replicated = NamedSharding(self._mesh, PartitionSpec())
        self._sharded = NamedSharding(self._mesh, PartitionSpec(axes.BATCH))

    def compile(self, function: Callable, donate: bool = False, sharded: bool = False, fixed: bool = False) -> Callable:
        program = jax.shard_map(
            self._traceable(function),
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
        return _first_device(tree)

    def gather(self, tree: Any) -> Any:
        return jax.tree.map(np.asarray, tree)


def _first_device(tree: Any) -> Any:
    """Return the arrays of a tree on the first device of this process, on the host; all are copied at once."""
    shards = jax.tree.map(lambda x: x.addressable_data(0), tree)
    if not on_cpu():  # whose memory is the host's
        for shard in jax.tree.leaves(shards):
            shard.copy_to_host_async()
    return jax.tree.map(np.asarray, shards)


PARALLEL: dict[str, type[DeviceLayout]] = {"pmap": Pmap, "shard_map": ShardMap}


def layout_for_batch(parallel: str, batch_size: int) -> DeviceLayout:
    """Return the layout of the devices that share the global batch; `parallel` is an entry of PARALLEL.

    Raises InputError, which names the field of the config, for an unknown one, or if the devices do not divide the
    batch.
    """
    check_name(PARALLEL, parallel, "config.parallel")
    return PARALLEL[parallel](devices_for_batch(batch_size))


def describe(layout: DeviceLayout) -> str:
    """Return the devices of a run for a person: "2 x cpu in 2 processes"."""
    count = jax.process_count()
    together = f" in {count} processes" if count > 1 else ""
    return f"{len(layout.devices)} x {jax.devices()[0].device_kind}{together}"
