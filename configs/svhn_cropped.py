"""SVHN's house numbers, 32 x 32 pixels, as cifar10_ema.

python train.py --config configs/svhn_cropped.py

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.data.name = "svhn_cropped"
    return config
