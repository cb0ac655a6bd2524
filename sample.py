# PYTHON_ARGCOMPLETE_OK
"""Draws images from a trained prior: python sample.py --workdir runs/digits_prior [--num 80] [--classes 3,7] ..."""

from vqjax.__main__ import main
from vqjax.system.process import run_command

if __name__ == "__main__":
    run_command(lambda words: main(["sample", *words]))
