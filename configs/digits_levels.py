"""Digits on two grids of codes: 2 x 2, and 4 x 4 given those.

python train.py --config configs/digits_levels.py

FIGURES
"""

from configs import digits


def get_config():
    """The sizes of digits at the bottom; half as large a grid above it."""
    config = digits.get_config()
    config.model.codec = "hierarchical"
    config.model.hierarchical.top.num_codes = 64
    config.model.hierarchical.bottom.update(num_codes=128, stages=1)
    return config
