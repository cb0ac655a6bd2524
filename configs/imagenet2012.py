"""ImageNet at 64 x 64 pixels, 16 x 16 codes, decoded during training; otherwise as cifar10_ema.

python train.py --config configs/imagenet2012.py

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.steps = 200_000
    config.eval_every = config.save_every = 10_000
    config.data.update(name="imagenet2012", size="64", workers=8, resized_crop=0.25, flip=True)
    return config
