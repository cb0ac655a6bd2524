"""CIFAR-10 from the frozen codes of cifar10_ema, with each head, beside the encoder's output and the pixels.

python train.py --config configs/cifar10_ema.py && python -m vqjax ablate --config configs/ablation/cifar10_codes.py

2 cores (Xeon, AVX-512), 15 min beside other jobs: test accuracy of codes, latents and pixels 0.2611, 0.2810 and 0.1949
with the pooled head, 0.4528, 0.5004 and 0.4042 with the flattened, 0.5276, 0.5618 and 0.4916 with the conv head.
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
