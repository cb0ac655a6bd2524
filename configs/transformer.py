"""Stage 2 by a transformer that draws, completes, edits and scores codes in any order: the base of the others.

python train.py --config configs/transformer.py --config.stage1=runs/NAME

Result: depends on stage 1.
"""

from ml_collections import ConfigDict

from configs import prior


def get_config() -> ConfigDict:
    """The base of priors with a transformer, and the optimizer that those are trained with."""
    config = prior.get_config()
    config.model.prior = "transformer"
    config.optimizer.update(name="adamw", learning_rate=2e-3, warmup_share=0.05, final_learning_rate=2e-5)
    config.optimizer.adamw.update(b2=0.95, weight_decay=0.05)
    return config
