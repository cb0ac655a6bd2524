"""Draws images from a trained prior: python sample.py --workdir runs/digits_prior [--num 80] [--classes 3,7] ..."""

from vqjax.commands.sample import main
from vqjax.system.process import run_command

if __name__ == "__main__":
    run_command(main)
