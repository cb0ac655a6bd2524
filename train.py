# PYTHON_ARGCOMPLETE_OK
"""Trains what a config describes: python train.py --config configs/digits.py [--workdir DIR] [--config.steps=9 ...]"""

from vqjax.__main__ import main
from vqjax.system.process import run_command

if __name__ == "__main__":
    run_command(lambda words: main(["train", *words]))
