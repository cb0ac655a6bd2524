"""CIFAR-10 with one code per image, end to end: the quantizers against none, on a narrow ResNet-18.

python -m vqjax.ablate --config configs/ablation/cifar10.py

On a GPU, the whole network for 30 epochs: --config configs/ablation/cifar10.py:wide
2 cores (Xeon, AVX-512), 13 min a row beside other jobs, images from JPEG: test accuracy none 0.6925, EMA 0.6728, VQ
0.6702, 512 codes used by both; Gumbel was not run here.
"""

from ml_collections import ConfigDict

from configs.ablation import end_to_end


def get_config(size: str = "narrow") -> ConfigDict:
    """Width 8 for 7 epochs, or "wide": width 64 for 30, in bfloat16."""
    if size not in ("narrow", "wide"):
        raise ValueError(f"configs/ablation/cifar10.py:{size}: expected narrow or wide")
    sizes = {
        "narrow": {"steps": 2_500, "resnet18": {"width": 8}},
        "wide": {"steps": 10_500, "resnet18": {"width": 64}, "dtype": "bfloat16"},
    }
    rows = {}
    for quantizer in ("none", "ema", "vq", "gumbel"):
        rows[quantizer] = end_to_end("cifar10", num_codes=512, quantizer=quantizer, **sizes[size])
    return ConfigDict(rows, sort_keys=False)
