"""The transformer over CIFAR-10's 8 x 8 codes, in any order.

python train.py --config configs/cifar10_transformer.py

Result: not run here.
"""

from configs import transformer


def get_config():
    """Stage 1 and number of updates are those of cifar10_prior."""
    config = transformer.get_config()
    config.stage1 = "runs/cifar10_ema"
    config.optimizer.update(learning_rate=1e-3, final_learning_rate=1e-5)
    config.model.transformer.update(width=128, layers=8, heads=4)
    return config
