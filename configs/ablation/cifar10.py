"""CIFAR-10 with one code per image, end to end: the quantizers against none, on a narrow ResNet-18.

python -m vqjax ablate --config configs/ablation/cifar10.py

On a GPU, the whole network for 30 epochs: --config configs/ablation/cifar10.py:wide
2 cores (Xeon, AVX-512), 91 min beside other jobs: test accuracy none 0.8001, EMA 0.7881 (510 codes), VQ 0.7897 (509),
Gumbel 0.7588 (92). With the base's temperature of 8 to 4, alignment 8 and VQ's codebook_rate it has 0.7473 (81).
"""

from ml_collections import ConfigDict

from configs.ablation import end_to_end

_TIGHT = {"beta": 1.0}  # with smoothed labels it keeps the images of a class close together, so that a code costs less
SIZES = {
    "narrow": dict(steps=4_000, resnet18={"width": 8}),
    "wide": dict(steps=10_500, resnet18={"width": 64}, dtype="bfloat16"),
}


def get_config(size: str = "narrow") -> ConfigDict:
    """Width 8 for 11 epochs, or "wide": width 64 for 30, in bfloat16."""
    if size not in SIZES:
        raise ValueError(f"configs/ablation/cifar10.py:{size}: expected narrow or wide")
    shared = dict(dataset="cifar10", num_codes=512, label_smoothing=0.1, ema=_TIGHT, vq=_TIGHT, **SIZES[size])
    rows = {name: end_to_end(quantizer=name, **shared) for name in ("none", "ema", "vq", "gumbel")}
    if size == "narrow":
        for row in rows.values():
            row.optimizer.update(learning_rate=8e-3, codebook_rate=2.5)
        # At that rate Gumbel's embeddings would leave their logits: they move slower, and more codes share a gradient.
        rows["gumbel"].optimizer.codebook_rate = 0.25
        rows["gumbel"].model.gumbel.update(alignment=12.0)
        rows["gumbel"].model.gumbel.temperature.end = 8.0
    return ConfigDict(rows, sort_keys=False)
