"""The prior over CIFAR-10's 8 x 8 codes, with the width and depth of pytorch-vqvae's.

python train.py --config configs/cifar10_prior.py

Result: not run here.
"""

from configs import prior


def get_config():
    """Stage 1 is cifar10_ema."""
    config = prior.get_config()
    config.stage1 = "runs/cifar10_ema"
    return config
