"""MNIST with codes drawn by Gumbel-softmax, otherwise as mnist.

python train.py --config configs/mnist_gumbel.py

Result: not run here.
"""

from configs import mnist


def get_config():
    """Straight-through samples; --config.model.gumbel.hard=False relaxes them in training."""
    config = mnist.get_config()
    config.steps = 5_000
    config.model.quantizer = "gumbel"
    config.model.gumbel.num_codes = config.model.ema.num_codes
    return config
