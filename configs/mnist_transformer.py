"""The transformer over MNIST's 7 x 7 codes, in any order.

python train.py --config configs/mnist_transformer.py

Result: not run here.
"""

from configs import transformer


def get_config():
    """Stage 1 and number of updates are those of mnist_prior."""
    config = transformer.get_config()
    config.stage1 = "runs/mnist"
    config.steps = 2_000
    config.model.transformer.update(width=128, layers=6, heads=4)
    return config
