"""Your own images: any sizes, brought to 64 x 64 pixels; 16 x 16 codes. See docs/data.md.

python -m vqjax inspect --config configs/folder.py --config.data.path=photos
python train.py --config configs/folder.py --config.data.path=photos

A first look at a few hundred of them, with 8 x 8 codes, minutes on a laptop: docs/photos.md.
python train.py --config configs/folder.py:small --config.data.path=photos

Result: not run here (the images are yours).
"""

from ml_collections import ConfigDict

from configs import autoencoder

SIZES = {
    "full": dict(steps=20_000),
    "small": dict(
        steps=2_000,
        log_every=50,
        eval_every=200,
        save_every=200,
        model=dict(
            code_dim=32,
            deepmind=dict(width=32, residual_width=16, stages=3),
            **{name: dict(num_codes=64) for name in ("ema", "vq", "simvq", "gumbel")},
        ),
    ),
}


def get_config(size: str = "full") -> ConfigDict:
    """The base with a rate that falls to 0; the best checkpoint is chosen on a tenth of the images."""
    if size not in SIZES:
        raise ValueError(f"configs/folder.py:{size}: expected a size; known: {', '.join(SIZES)}")
    config = autoencoder.get_config()
    config.data.update(name="folder", size="64", validation=0.1, flip=True)
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.update(SIZES[size])
    return config
