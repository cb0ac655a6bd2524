"""How many devices there are, and how many a batch takes."""

import os
from typing import Any

import jax

from vqjax.ops.platforms import on_cpu
from vqjax.system import cores
from vqjax.system.errors import InputError

_MAX_IN_FLIGHT = 8

_set_here = False  # whether the number of CPU devices was chosen by `set_cpu_device_count`


def set_cpu_device_count(*batch_sizes: Any) -> None:
    """Give JAX, before it starts, as many CPU devices as there are cores, or as many as divide all batch sizes.

    All cores then also compute what is no convolution, on smaller arrays. A number that is set in XLA_FLAGS, in
    JAX_NUM_CPU_DEVICES or in JAX's config stands, as does that of JAX if it has started, or if it is one of several
    processes, which may share the cores. GPUs are not concerned. A size that is no number is refused elsewhere.
    """
    global _set_here
    flagged = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    named = flagged or jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    if named or jax.distributed.is_initialized():
        return
    sizes = (size for size in batch_sizes if isinstance(size, int))
    try:
        jax.config.update("jax_num_cpu_devices", _largest_divisor(cores.num_cores(), *sizes))
    except RuntimeError:  # JAX has started
        return
    _set_here = True


def _largest_divisor(limit: int, *sizes: int) -> int:
    """Return the largest number up to a limit that divides all sizes."""
    return next(count for count in range(limit, 0, -1) if not any(size % count for size in sizes))


def devices_for_batch(batch_size: int) -> list[jax.Device]:
    """Return the devices of all processes that share the global batch.

    Of a number that `set_cpu_device_count` chose, only as many devices as divide the batch. Raises InputError if any
    other number does not divide it.
    """
    devices = jax.devices()
    if _set_here and on_cpu():
        return devices[: _largest_divisor(len(devices), batch_size)]
    if batch_size % len(devices):
        raise InputError(f"config.batch_size={batch_size}: expected a multiple of the {len(devices)} devices")
    return devices


def max_in_flight() -> int:
    """Maximum number of steps in flight.

    Without a bound many CPU devices deadlock; those of several processes do with any.
    """
    return 0 if jax.process_count() > 1 and on_cpu() else _MAX_IN_FLIGHT


def round_up_to_devices(batch_size: int) -> int:
    """Return the least multiple of the number of local devices that is not below `batch_size`."""
    devices = jax.local_device_count()
    return -(-batch_size // devices) * devices
