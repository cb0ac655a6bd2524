"""Food-101's photographs at 64 x 64 pixels, 16 x 16 codes, otherwise as cifar10_ema.

python train.py --config configs/food101.py

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.data.update(name="food101", size="64", flip=True)
    return config
