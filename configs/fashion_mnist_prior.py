"""The prior over FashionMNIST's 7 x 7 codes, otherwise as mnist_prior.

python train.py --config configs/fashion_mnist_prior.py

Result: not run here.
"""

from configs import mnist_prior


def get_config():
    """Another stage 1."""
    config = mnist_prior.get_config()
    config.stage1 = "runs/fashion_mnist"
    return config
