"""CIFAR-100, as cifar10_ema.

python train.py --config configs/cifar100.py

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.data.name = "cifar100"
    return config
