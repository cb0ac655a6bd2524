"""Tiny ImageNet, 64 x 64 pixels, 16 x 16 codes, otherwise as cifar10_ema.

python train.py --config configs/tiny_imagenet.py --config.data.path=tiny-imagenet-200

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.steps = 50_000
    config.data.update(name="tiny_imagenet", flip=True)
    return config
