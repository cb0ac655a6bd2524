"""ImageNet at 256 x 256 pixels through VQGAN's networks, 16 x 16 codes of 8 numbers, with a loss on pixels alone.

python train.py --config configs/imagenet_vqgan.py

Needs an accelerator; not run here.
"""

from configs import imagenet2012


def get_config():
    """The networks of taming-transformers and LlamaGen, and LlamaGen's codes."""
    config = imagenet2012.get_config()
    config.batch_size = 64
    config.data.size = "256"
    config.model.code_dim = 8
    config.model.dtype = "bfloat16"
    config.model.encoder = config.model.decoder = "vqgan"
    config.model.vqgan.remat = True
    config.model.quantizer = "vq"
    config.model.vq.update(num_codes=16_384, beta=0.25, cosine=True)
    config.model.likelihood = "l1"
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.codebook_rate = 1.0
    return config
