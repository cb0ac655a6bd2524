"""Accelerators by name: peak rates, memory and links, as their makers state them."""

from typing import NamedTuple


class Accelerator(NamedTuple):
    """One device.

    Attributes:
      flops: peak operations a second of products, by the dtype of the computation; float32 as JAX computes it by
        default: in TF32 on a GPU that has it, in one pass of bfloat16 on a TPU.
      memory: GiB.
      bandwidth: GB/s of that memory.
      link: GB/s to the other devices of its host, in each direction.
      network: GB/s of its part of the host's network, in each direction.
      per_host: devices of a usual host.
    """

    flops: dict[str, float]
    memory: float
    bandwidth: float
    link: float
    network: float
    per_host: int


def _peak(bfloat16: float, float32: float) -> dict[str, float]:
    """Return peak rates that are given in TFLOP/s."""
    return {"bfloat16": bfloat16 * 1e12, "float32": float32 * 1e12}


ACCELERATORS = {
    "v100": Accelerator(_peak(125, 15.7), 16, 900, 150, 12.5, 8),  # bfloat16: its float16
    "a100": Accelerator(_peak(312, 156), 40, 1_555, 300, 25, 8),
    "a100-80gb": Accelerator(_peak(312, 156), 80, 2_039, 300, 25, 8),
    "h100": Accelerator(_peak(989, 494), 80, 3_350, 450, 50, 8),
    "h200": Accelerator(_peak(989, 494), 141, 4_800, 450, 50, 8),
    "b200": Accelerator(_peak(2_250, 1_100), 180, 8_000, 900, 50, 8),
    "l4": Accelerator(_peak(121, 60), 24, 300, 32, 12.5, 8),
    "rtx4090": Accelerator(_peak(165, 82.6), 24, 1_008, 32, 1.25, 4),
    "tpu-v4": Accelerator(_peak(275, 275), 32, 1_200, 150, 150, 4),
    "tpu-v5e": Accelerator(_peak(197, 197), 16, 819, 100, 100, 4),
    "tpu-v5p": Accelerator(_peak(459, 459), 95, 2_765, 300, 300, 4),
    "tpu-v6e": Accelerator(_peak(918, 918), 32, 1_640, 224, 224, 4),
}
