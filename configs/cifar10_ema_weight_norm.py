"""CIFAR-10 with weight normalisation, otherwise as cifar10_ema.

python train.py --config configs/cifar10_ema_weight_norm.py

Result: not run to its end here; after 2,500 updates, on images that went through JPEG (quality 75), test MSE 0.00403.
With --config.model.deepmind.kernel_init=kaiming, 2 cores (Xeon, AVX-512), 66 min beside other jobs, 25,000 updates:
test MSE 0.00367, PSNR 24.4 dB, SSIM 0.852, 512 of 512 codes used, perplexity 426.
"""

from configs import cifar10_ema


def get_config():
    """cifar10_ema with weight normalisation."""
    config = cifar10_ema.get_config()
    config.model.deepmind.weight_norm = True
    return config
