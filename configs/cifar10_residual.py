"""CIFAR-10 as cifar10_ema, with two codes per position: 8 x 8 x 2 codes of 512.

python train.py --config configs/cifar10_residual.py

Result: not run here.
"""

from configs import cifar10_ema


def get_config():
    """Another quantizer, with a rate that falls to 0."""
    config = cifar10_ema.get_config()
    config.model.quantizer = "residual"
    config.optimizer.update(name="adam", learning_rate=1e-3, schedule="cosine")
    return config
