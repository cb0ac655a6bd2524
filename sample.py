"""Draws images from a trained prior: python sample.py --workdir runs/digits_prior [--num 80] [--classes 3,7] ..."""

from vqjax.core.command import run
from vqjax.sample import main

if __name__ == "__main__":
    run(main)
