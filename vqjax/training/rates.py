"""Rates of devices: from what a step costs to the seconds that it takes, as a range.

docs/scale.md says where the constants come from, and how well the ranges hold.
"""

from typing import NamedTuple

from vqjax.system.accelerators import Accelerator
from vqjax.training.cost import Cost

UTILIZATION = 0.12, 0.47  # of the peak rate of products: the band of published trainings
BANDWIDTH = 0.8  # share of the memory's bandwidth that is reached
LINK = 0.7  # share of a link's rate that collectives reach
LAUNCH = 2e-6, 8e-6  # seconds of an operation, however small it is
DECODED = 50e6, 15e6  # pixels of JPEG files that a core decodes in a second, at best and at worst


class Cluster(NamedTuple):
    """Place where a run would be.

    Attributes:
      devices: number of them, of all hosts.
      hosts: number of hosts that they are spread over.
      accelerator: kind of the devices.
      cores: of the CPUs of a host.
    """

    devices: int
    hosts: int
    accelerator: Accelerator
    cores: int

    @property
    def rate(self) -> float:
        """Bytes a second that a device sends in collectives, each way.

        Between hosts the data goes once through all network cards of a host together.
        """
        device, per_host = self.accelerator, self.devices // self.hosts
        rate = device.link if self.hosts == 1 else min(device.link, device.network * per_host)
        return rate * 1e9 * LINK

    def sent(self, size: float) -> float:
        """Bytes that a device sends, in a ring of the devices, where it would send `size` in an endless one."""
        return size * (self.devices - 1) / self.devices


def compute_seconds(flops: float, device: Accelerator, dtype: str) -> tuple[float, float]:
    """Seconds of products, (least, most)."""
    least, most = (flops / (device.flops[dtype] * share) for share in UTILIZATION[::-1])
    return least, most


def step_seconds(cost: Cost, cluster: Cluster, dtype: str, pixels: float) -> tuple[tuple[float, float], str]:
    """Seconds of a step, (least, most), and what bounds it.

    The step takes as long as the slowest of products, memory traffic, starts of operations and input. In the least time
    communication is hidden behind these; in the most it comes on top.

    Args:
      cost: of the step of a device.
      cluster: where it runs.
      dtype: of the products.
      pixels: of the image files that a host decodes for a step.
    """
    traffic = cost.traffic[0] / (cluster.accelerator.bandwidth * 1e9 * BANDWIDTH)
    sending = cluster.sent(cost.communication()) / cluster.rate
    compute = compute_seconds(cost.flops, cluster.accelerator, dtype)
    launches = [cost.operations * seconds for seconds in LAUNCH]
    decoding = [pixels / rate / cluster.cores for rate in DECODED]
    parts = {
        "compute": compute,
        "memory traffic": (traffic, traffic),
        "number of operations": (launches[0], launches[1]),
        "input": (decoding[0], decoding[1]),
    }
    least, most = (max(part[i] for part in parts.values()) for i in (0, 1))
    middle = {name: sum(part) / 2 for name, part in parts.items()} | {"communication": sending}
    return (max(least, sending), most + sending), max(middle, key=lambda name: middle[name])
