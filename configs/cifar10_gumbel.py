"""CIFAR-10 with codes drawn by Gumbel-softmax, otherwise as cifar10_ema.

python train.py --config configs/cifar10_gumbel.py

Result: not run here.
"""

from configs import autoencoder


def get_config():
    """Straight-through samples; --config.model.gumbel.hard=False relaxes them in training."""
    config = autoencoder.get_config()
    config.steps = 5_000
    config.model.quantizer = "gumbel"
    return config
