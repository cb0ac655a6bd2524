"""CIFAR-10 at equal bits, about 720 per image: one grid, several codes per position, two grids.

python -m vqjax ablate --config configs/ablation/layouts.py --seeds 3

Each row's transformer is of one size, so that bits of whole images can be compared.
2 cores (Xeon, AVX-512), 2.6 h a seed beside other jobs: PSNR 26.08 dB on one grid, 25.59 and 25.25 with two and four
codes per position, means of seeds 0 to 2; 26.09 on two grids, seed 0, which take twice the parameters. Bits/dim of
whole images, seed 0: 5.835, 5.913, 5.977 and 5.839.
"""

from ml_collections import ConfigDict

from configs import cifar10_levels, cifar10_transformer

SIZES = {"full": (10_000, 3_000), "quick": (1_000, 300)}  # updates of the autoencoders, and of the transformers


def get_config(size: str = "full") -> ConfigDict:
    """Each autoencoder, then a small transformer on its codes; or "quick": with a tenth of the updates."""
    if size not in SIZES:
        raise ValueError(f"configs/ablation/layouts.py:{size}: expected full or quick")
    rows = {
        "grid": _grid(2_435),
        "depth2": _depth(2, 49),
        "depth4": _depth(4, 7),
        "levels": cifar10_levels.get_config(),
    }
    priors = {f"{name}_prior": _transformer(name) for name in rows}
    rows |= priors
    for name, row in rows.items():
        row.steps = SIZES[size][name in priors]
        row.eval_every = row.save_every = row.steps // 4
    return ConfigDict(rows, sort_keys=False)


def _grid(num_codes: int) -> ConfigDict:
    config = cifar10_levels.get_config()
    config.model.codec = "single"
    config.model.ema.num_codes = num_codes
    return config


def _depth(depth: int, num_codes: int) -> ConfigDict:
    config = _grid(num_codes)
    config.model.quantizer = "residual"
    config.model.residual.depth = depth
    return config


def _transformer(stage1: str) -> ConfigDict:
    config = cifar10_transformer.get_config()
    config.stage1 = stage1
    config.model.transformer.update(width=64, layers=4, heads=2)
    return config
