"""Draws images from a trained prior:

python sample.py --workdir runs/digits_prior [--num 80] [--classes 3,7] [--seed 0] [--temperature 1.0]
"""

import argparse
import sys

from vqjax.command import status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sample.py", usage="sample.py --workdir DIR [options]", description="Draw images from a trained prior."
    )
    parser.add_argument("--workdir", required=True, help="the prior's run")
    parser.add_argument("--num", type=int, default=80, help="images in all (default: 80); the picture shows up to 400")
    parser.add_argument("--classes", help="names or numbers with commas between, to cycle over (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise: same seed, same images (default: 0)")
    parser.add_argument("--batch", type=int, default=64, help="images that are drawn at a time (default: 64)")
    parser.add_argument("--temperature", type=float, default=1.0, help="divides the logits (default: 1)")
    parser.add_argument("--top_k", type=int, default=0, help="draw among so many codes, the most probable")
    parser.add_argument("--top_p", type=float, default=1.0, help="draw among the codes with this probability together")
    parser.add_argument("--neighbours", action="store_true", help="put the nearest training image under each sample")
    parser.add_argument("--stage1", help="the autoencoder's run, if it is not where the prior was trained on it")
    parser.add_argument("--step", type=int, help="of the checkpoint (default: the best, or else the last)")
    parser.add_argument("--out", help="the picture (default: samples.png in the workdir); arrays go beside it, as .npz")
    return parser


def main() -> None:
    arguments = _parser().parse_args()
    from vqjax import generate  # JAX starts here, after the flags are known to be right

    print("written to " + " and ".join(map(str, generate.main(**vars(arguments)))))


if __name__ == "__main__":
    sys.exit(status(main))
