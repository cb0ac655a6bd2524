"""DRAFT"""

from configs import autoencoder


def get_config():
    """The base with a codebook trained by its gradient."""
    config = autoencoder.get_config()
    config.eval_every = config.save_every = 2_500
    config.model.quantizer = "vq"
    return config
