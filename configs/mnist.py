"""DRAFT"""

from configs import autoencoder


def get_config():
    """Grey images, 7 x 7 codes."""
    config = autoencoder.get_config()
    config.steps = 3_000
    config.batch_size = 64
    config.data.name = "mnist"
    config.model.code_dim = 32
    config.model.deepmind.update(width=64, residual_width=32)
    config.model.ema.num_codes = config.model.vq.num_codes = 256
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    return config
