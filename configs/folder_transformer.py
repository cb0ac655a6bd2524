"""The transformer over the 16 x 16 codes of your own images, in any order; draw in 32 steps.

python train.py --config configs/folder_transformer.py --config.stage1=runs/folder
python sample.py --workdir runs/folder_transformer --steps 32

Needs an accelerator; not run here.
"""

from configs import transformer


def get_config():
    """A wide network, in bfloat16."""
    config = transformer.get_config()
    config.stage1 = "runs/folder"
    config.steps = 50_000
    config.data.flip = True
    config.model.dtype = "bfloat16"
    config.model.transformer.update(width=384, layers=8, heads=12)
    config.optimizer.update(learning_rate=6e-4, final_learning_rate=6e-6)
    return config
