"""CIFAR-10 on two grids of codes, 4 x 4 and 8 x 8 of 512, with the networks of cifar10_ema at both.

python train.py --config configs/cifar10_levels.py

Result: not run here.
"""

from configs import cifar10_ema


def get_config():
    """Another codec, with a rate that falls to 0."""
    config = cifar10_ema.get_config()
    config.model.codec = "hierarchical"
    config.optimizer.update(name="adam", learning_rate=1e-3, schedule="cosine")
    return config
