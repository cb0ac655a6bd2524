"""CIFAR-10 with Kaiming initialisation and weight normalisation, otherwise as cifar10_ema.

python train.py --config configs/cifar10_ema_weight_norm.py

Result: not run here.
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema with Kaiming initialisation and weight normalisation."""
    config = cifar10_ema.get_config()
    config.model.deepmind.update(weight_norm=True, kernel_init="kaiming")
    return config
