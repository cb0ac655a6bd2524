"""DALL-E's discrete VAE on CIFAR-10 at stride 4: its networks, Gumbel-softmax codes, logit-Laplace.

python train.py --config configs/cifar10_dalle.py

Result: not run here.
"""

from configs import cifar10_gumbel


def get_config():
    """8 x 8 codes; bits_per_dim at evaluation is that of the 8-bit pixels."""
    config = cifar10_gumbel.get_config()
    config.model.encoder = config.model.decoder = "openai"
    config.model.openai.update(width=32, blocks=1)  # wider or deeper takes hours on a CPU
    config.model.likelihood = "logit_laplace"
    config.optimizer.name = "adamw"
    config.optimizer.clip = 1.0
    return config
