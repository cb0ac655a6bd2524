"""The transformer over the codes of digits, in any order. It takes every other layout of codes of digits, too.

python train.py --config configs/digits.py && python train.py --config configs/digits_transformer.py

FIGURES
"""

from configs import transformer


def get_config():
    """Take as many updates as digits_prior."""
    config = transformer.get_config()
    config.stage1 = "runs/digits"
    config.steps = 600
    config.eval_every = config.save_every = 100
    config.model.ema_decay = 0.99
    config.model.transformer.update(width=64, layers=4, heads=2, dropout=0.2)
    return config
