"""CIFAR-10 with weight normalisation, otherwise as cifar10_ema.

python train.py --config configs/cifar10_ema_weight_norm.py

2 cores (EPYC, AVX-512), two virtual devices, 79 min beside other jobs, on images that went through JPEG (quality 75):
test MSE 0.00324, PSNR 24.9 dB, SSIM 0.867, 512 of 512 codes used, perplexity 419.
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema with weight normalisation."""
    config = cifar10_ema.get_config()
    config.model.deepmind.weight_norm = True
    return config
