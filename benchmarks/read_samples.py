"""How often a prior's samples are read as the class that was asked for, over temperatures and guidance.

python -m benchmarks.read_samples --workdir runs/mnist_transformer --reader runs/classifier-mnist --guidance 1 2

A classifier of the same data set reads them; what share of test it reads right is the last line.
"""

import argparse
import itertools

import numpy as np

import vqjax


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.read_samples", description=__doc__)
    arguments.add_argument("--workdir", required=True, help="of a class-conditional prior")
    arguments.add_argument("--reader", required=True, help="workdir of a classifier")
    arguments.add_argument("--num", type=int, default=1_000, help="samples (default: 1000)")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--temperature", type=float, nargs="+", default=[1.0])
    arguments.add_argument("--guidance", type=float, nargs="+", default=[1.0], help="1 is none; only for a transformer")
    return arguments


def main() -> None:
    arguments = parser().parse_args()
    prior, reader = vqjax.load(arguments.workdir), vqjax.load(arguments.reader)
    asked = [name for _, name in zip(range(arguments.num), itertools.cycle(prior.class_names))]
    numbers = np.array([reader.class_names.index(name) for name in asked])

    for temperature, guidance in itertools.product(arguments.temperature, arguments.guidance):
        options = {"guidance": guidance} if guidance != 1 else {}
        drawn = prior.sample(len(asked), asked, temperature=temperature, seed=arguments.seed, **options)
        share = np.mean(reader.predict(drawn.images).argmax(-1) == numbers)
        print(f"{share:.1%} of {len(asked):,} samples, temperature {temperature:g}, guidance {guidance:g}", flush=True)
    print(f"{reader.metrics['accuracy']:.2%} of {reader.metrics['split']} images")


if __name__ == "__main__":
    main()
