"""Your own images: any sizes, brought to 64 x 64 pixels; 16 x 16 codes. See docs/data.md.

python -m vqjax inspect --config configs/folder.py --config.data.path=photos
python train.py --config configs/folder.py --config.data.path=photos

Result: not run here (the images are yours).
"""

from configs import autoencoder


def get_config():
    """The base with a rate that falls to 0; the best checkpoint is chosen on a tenth of the images."""
    config = autoencoder.get_config()
    config.steps = 20_000
    config.data.update(name="folder", size="64", validation=0.1, flip=True)
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    return config
