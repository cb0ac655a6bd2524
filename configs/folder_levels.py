"""Your own photographs at 128 x 128 pixels on two grids of codes, 16 x 16 and 32 x 32 of 512.

python train.py --config configs/folder_levels.py --config.data.path=photos

Result: not run here (the images are yours).
"""

from configs import folder


def get_config():
    """The base of one's own images, larger, with a second level."""
    config = folder.get_config()
    config.batch_size = 32
    config.data.size = "128"
    config.model.codec = "hierarchical"
    return config
