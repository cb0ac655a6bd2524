"""CIFAR-10 from the frozen codes of cifar10_ema, with each head, beside the encoder's output and the pixels.

python train.py --config configs/cifar10_ema.py && python -m vqjax.ablate --config configs/ablation/cifar10_codes.py

Result: not run here.
"""

from ml_collections import ConfigDict

from configs.ablation import two_stages


def get_config() -> ConfigDict:
    """Every head on all three inputs."""
    of_codes = {"dataset": "cifar10", "steps": 1_500, "stage1": "runs/cifar10_ema"}
    rows = {
        f"{inputs}_{head}": two_stages(**of_codes, inputs=inputs, head=head)
        for head in ("pooled", "flattened", "conv")
        for inputs in ("codes", "latents", "pixels")
    }
    return ConfigDict(rows, sort_keys=False)
