"""The reference configs as they are, in one table for each data set: autoencoders, and priors on their codes.

python -m vqjax ablate --config configs/ablation/references.py --seeds 5

On other data: --config configs/ablation/references.py:mnist, or cifar10, or cifar10_gumbel
Result: not run here as tables; docs/results.md has figures of the rows, each trained by itself.
"""

from importlib import import_module
from pathlib import Path

from ml_collections import ConfigDict

_RELAXED = {"model.gumbel.hard": False}
_SHORT = {"steps": 10_000}
SIZES = {  # of a data set: {row: its config, and fields that differ}
    "digits": {"digits": ("digits", {}), "digits_prior": ("digits_prior", {})},
    "mnist": {
        "mnist": ("mnist", {}),
        "mnist_longer": ("mnist", {"steps": 5_000}),
        "mnist_gumbel": ("mnist_gumbel", {}),
        "mnist_gumbel_relaxed": ("mnist_gumbel", _RELAXED),
        "mnist_fsq": ("mnist_fsq", {}),
        "mnist_vae": ("mnist_vae", {}),
        "mnist_prior": ("mnist_prior", {}),
    },
    "cifar10": {
        "cifar10_ema": ("cifar10_ema", _SHORT),
        "cifar10_vq": ("cifar10_vq", _SHORT),
        "cifar10_ema_weight_norm": ("cifar10_ema_weight_norm", _SHORT),
    },
    "cifar10_gumbel": {
        "cifar10_gumbel": ("cifar10_gumbel", {}),
        "cifar10_gumbel_relaxed": ("cifar10_gumbel", _RELAXED),
        "cifar10_dalle": ("cifar10_dalle", {}),
    },
}


def get_config(dataset: str = "digits") -> ConfigDict:
    """The configs with their own numbers of updates; those of "cifar10" with 10,000."""
    if dataset not in SIZES:
        raise ValueError(f"configs/ablation/references.py:{dataset}: expected one of {', '.join(SIZES)}")
    return ConfigDict({row: _row(*choice) for row, choice in SIZES[dataset].items()}, sort_keys=False)


def _row(name: str, fields: dict) -> ConfigDict:
    """A config with some of its fields changed; a prior's stage 1 is the row of that name."""
    config = import_module(f"configs.{name}").get_config()
    config.update_from_flattened_dict(fields)
    if "stage1" in config:
        config.stage1 = Path(config.stage1).name
    return config
