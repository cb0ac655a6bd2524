"""Trains what a config describes: python train.py --config configs/digits.py [--workdir DIR] [--config.steps=9 ...]"""

from vqjax.__main__ import train
from vqjax.system.process import run_command

if __name__ == "__main__":
    run_command(train)
