"""DRAFT"""

from configs import mnist


def get_config():
    """mnist on FashionMNIST."""
    config = mnist.get_config()
    config.data.name = "fashion_mnist"
    return config
