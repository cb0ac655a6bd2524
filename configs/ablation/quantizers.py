"""Quantizers and estimators of the gradient with codebooks of 512, 4,096 and 16,384, on CIFAR-10.

python -m vqjax ablate --config configs/ablation/quantizers.py:all --seeds 3

One size alone: --config configs/ablation/quantizers.py:4096
2 cores (Xeon, AVX-512), 39 min beside other jobs, K 4,096, seed 0: PSNR 25.5 dB by vq, 25.4 by ema, 25.3 by vq_diveq,
24.6 by fsq, 24.5 by the cosine codes, 23.7 and 22.6 by the rotations, 22.8 by simvq. K 16,384, 58 min: 26.1 dB by ema,
with 99.9 % of its codes used, 26.0 by vq, 25.8 by vq_diveq. K 512, 42 min: 24.3 by vq, 24.2 by ema. The table is in
docs/results.md.
"""

from ml_collections import ConfigDict

from configs import cifar10_ema

_COSINE = {"cosine": True, "projection": 8}
ROWS = {  # the quantizer, and fields of its section
    "ema": ("ema", {}),
    "ema_rotation": ("ema", {"gradient": "rotation"}),
    "ema_cosine": ("ema", _COSINE),
    "vq": ("vq", {}),
    "vq_rotation": ("vq", {"gradient": "rotation"}),
    "vq_diveq": ("vq", {"gradient": "diveq"}),
    "vq_cosine": ("vq", _COSINE),
    "simvq": ("simvq", {}),
    "simvq_rotation": ("simvq", {"gradient": "rotation"}),
}
FSQ = {"4096": (7, 5, 5, 5, 5), "512": (8, 8, 8), "16384": (8, 8, 8, 6, 5)}  # as many codes, about
SIZES = (*FSQ, "all")


def get_config(num_codes: str = "4096") -> ConfigDict:
    """2,000 updates each, at a rate that falls to 0; "all": every row with each number of codes, 4,096 first."""
    if num_codes not in SIZES:
        raise ValueError(f"configs/ablation/quantizers.py:{num_codes}: expected one of {', '.join(SIZES)}")
    if num_codes != "all":
        return ConfigDict(_rows(num_codes), sort_keys=False)
    rows = {f"{name}_{size}": row for size in FSQ for name, row in _rows(size).items()}
    return ConfigDict(rows, sort_keys=False)


def _rows(num_codes: str) -> dict[str, ConfigDict]:
    rows = {}
    for name, (quantizer, fields) in ROWS.items():
        rows[name] = _row(quantizer)
        rows[name].model[quantizer].update(num_codes=int(num_codes), **fields)
    rows["fsq"] = _row("fsq")
    rows["fsq"].model.fsq.levels = FSQ[num_codes]
    return rows


def _row(quantizer: str) -> ConfigDict:
    config = cifar10_ema.get_config()
    config.update(steps=2_000, eval_every=1_000, save_every=1_000)
    config.model.quantizer = quantizer
    config.optimizer.update(name="adam", learning_rate=1e-3, schedule="cosine")
    return config
