"""CIFAR-10 with the networks and bits of cifar10_ema, and a better recipe: Adam, a high rate that falls to 0.

python train.py --config configs/cifar10_best.py

Result: not run here.
"""

from configs import cifar10_ema


def get_config():
    """Another optimizer."""
    config = cifar10_ema.get_config()
    config.optimizer.update(name="adam", learning_rate=4e-3, schedule="cosine", warmup_share=0.01)
    config.optimizer.adam.b2 = 0.99
    return config
