"""CIFAR-10 on two grids of codes, 4 x 4 and 8 x 8 of 512, with the networks of cifar10_ema at both.

python train.py --config configs/cifar10_levels.py

2 cores (Xeon, AVX-512), 19 min beside other jobs for 10,000 updates (--config.steps=10000), on images that went through
JPEG (quality 75): test MSE 0.00246, PSNR 26.1 dB, SSIM 0.898, all codes used.
"""

from configs import cifar10_ema


def get_config():
    """Another codec, with a rate that falls to 0."""
    config = cifar10_ema.get_config()
    config.model.codec = "hierarchical"
    config.optimizer.update(name="adam", learning_rate=1e-3, schedule="cosine")
    return config
