"""FashionMNIST, as mnist.

python train.py --config configs/fashion_mnist.py

Result: not run here (no data).
"""

from configs import mnist


def get_config():
    """mnist on other pictures."""
    config = mnist.get_config()
    config.data.name = "fashion_mnist"
    return config
