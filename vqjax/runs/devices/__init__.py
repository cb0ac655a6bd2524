"""Devices: how a per-device function becomes a program for all of them, and how several processes share a run.

layouts.py     `PARALLEL`: pmap and shard_map, which compile functions and lay arrays on devices
counts.py      how many devices there are, and how many a batch takes
mapper.py      functions applied to all examples of a split
processes.py   several processes that train one run
survey.py      what JAX sees in each process, and whether they agree
"""

from vqjax.runs.devices.counts import max_in_flight, round_up_to_devices, set_cpu_device_count
from vqjax.runs.devices.layouts import PARALLEL, DeviceLayout, Pmap, ShardMap, describe, layout_for_batch
from vqjax.runs.devices.mapper import Mapper, images_at_a_time, map_split

__all__ = [
    "PARALLEL",
    "DeviceLayout",
    "Mapper",
    "Pmap",
    "ShardMap",
    "describe",
    "images_at_a_time",
    "layout_for_batch",
    "map_split",
    "max_in_flight",
    "round_up_to_devices",
    "set_cpu_device_count",
]
