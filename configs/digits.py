"""DRAFT"""

from configs import autoencoder


def get_config():
    """The main job in a minute, on data that is inside scikit-learn."""
    config = autoencoder.get_config()
    config.steps = 2_000
    config.batch_size = 64
    config.eval_every = config.save_every = 500
    config.data.name = "digits"
    config.model.code_dim = 16
    config.model.deepmind.update(width=64, residual_width=32, stages=1)
    config.model.ema.num_codes = config.model.vq.num_codes = 128
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    return config
