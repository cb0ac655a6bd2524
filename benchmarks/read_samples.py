"""How often a prior's samples are read as the class that was asked for, by the three nearest training images:

python -m benchmarks.read_samples --workdir runs/mnist_prior
"""

import argparse

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from vqjax.data import datasets
from vqjax.inference import generation


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_samples")
    parser.add_argument("--workdir", required=True, help="of a class-conditional prior")
    parser.add_argument("--num", type=int, default=1_000, help="samples, and test images (default: 1000)")
    parser.add_argument("--among", type=int, default=20_000, help="training images (default: 20000)")
    arguments = parser.parse_args()
    prior, variables = generation.load_prior(arguments.workdir)
    asked = np.arange(arguments.num) % len(prior.class_names)
    _, samples = generation.generate(prior, variables, asked)
    splits = datasets.load_splits(datasets.open_dataset(prior.settings.data), ("train", "test"))
    train, test = splits["train"][: arguments.among].arrays, splits["test"][: arguments.num].arrays
    reader = KNeighborsClassifier(3).fit(_flat(train["image"]), train["label"])
    for name, images, labels in (("samples", samples, asked), ("test images", test["image"], test["label"])):
        print(f"{reader.score(_flat(images), labels):.1%} of {len(labels):,} {name}")


def _flat(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, H W C) float32."""
    return images.reshape(len(images), -1).astype(np.float32)


if __name__ == "__main__":
    main()
