"""DRAFT"""

from configs import autoencoder


def get_config():
    """The base as it is."""
    config = autoencoder.get_config()
    config.eval_every = config.save_every = 2_500
    return config
