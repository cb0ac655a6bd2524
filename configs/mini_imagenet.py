"""miniImageNet, 84 x 84 pixels, 21 x 21 codes, otherwise as cifar10_ema. Its classes are split as docs/data.md says.

python train.py --config configs/mini_imagenet.py --config.data.path=mini-imagenet

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.steps = 50_000
    config.data.update(name="mini_imagenet", size="84", flip=True)
    return config
