"""The prior over the codes of your own images, class by class if there are classes. See docs/photos.md.

python train.py --config configs/folder.py --config.data.path=photos && python train.py --config configs/folder_prior.py

After a first look, `configs/folder.py:small`: python train.py --config configs/folder_prior.py:small

Result: not run here (the images are yours).
"""

from ml_collections import ConfigDict

from configs import prior

SIZES = {
    "full": dict(stage1="runs/folder", steps=20_000),
    "small": dict(
        stage1="runs/folder-small",
        steps=400,
        batch_size=32,
        log_every=25,
        eval_every=100,
        save_every=100,
        model=dict(pixelcnn=dict(width=32, layers=5, head_width=64, dropout=0.5), ema_decay=0.99),
    ),
}


def get_config(size: str = "full") -> ConfigDict:
    """The base; the small one has a small network and much dropout, as few images are soon known by heart."""
    if size not in SIZES:
        raise ValueError(f"configs/folder_prior.py:{size}: expected a size; known: {', '.join(SIZES)}")
    config = prior.get_config()
    config.update(SIZES[size])
    return config
