"""ImageNet as TFDS has it at 32 x 32 pixels (or 8, 16, 64: config.data.size), as cifar10_ema.

python train.py --config configs/imagenet_resized.py

Result: not run here (no data).
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema on other pictures."""
    config = cifar10_ema.get_config()
    config.steps = 200_000
    config.eval_every = config.save_every = 10_000
    config.data.update(name="imagenet_resized", size="32", flip=True)
    return config
