"""A folder of photographs at 128 or 256 pixels, 16 x 16 or 32 x 32 codes, with the blocks' insides computed twice.

python train.py --config configs/photos_folder.py:128 --config.data.path=DIR

Needs an accelerator; not run here.
"""

from configs import photos

SIZES = {"128": dict(batch_size=32), "256": dict(batch_size=16, data=dict(size="256"))}


def get_config(size: str = "128"):
    """The network of `photos`, wider inside its blocks, and a longer run."""
    if size not in SIZES:
        raise ValueError(f"configs/photos_folder.py:{size}: expected a size; known: {', '.join(SIZES)}")
    config = photos.get_config()
    config.steps = 100_000
    config.eval_every = config.save_every = 5_000
    config.data.update(name="folder", size="128")
    config.model.deepmind.update(residual_width=128, blocks=4, remat=True)
    config.update(SIZES[size])
    return config
