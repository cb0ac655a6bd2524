"""Classification accuracy score (Ravuri and Vinyals 2019, arXiv 1905.10887): a classifier trained on samples alone."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.config.plain import with_fields
from vqjax.data.splits import Split
from vqjax.inference.classifier import Classifier
from vqjax.training import loop

# Fields of the classifier's data that are of its own set; the arrays of samples are as its images are read.
_AS_THEY_ARE = {
    **{"data.name": "arrays", "data.data_dir": "", "data.size": "", "data.channels": 0},
    **{"data.limit": 0, "data.resized_crop": 0.0, "data.oversize": 1.0, "data.cache": False},
}


def train_on_samples(config: ConfigDict, samples: Split, test: Split, seed: int) -> tuple[int, np.ndarray | None]:
    """Train a classifier on samples, in a workdir that is removed, and read test images with it.

    Args:
      config: of the classifier's run.
      samples: `image` and `label`; their end, by config.data.validation, chooses the checkpoint.
      test: real images and their labels.
      seed: of the training.

    Returns:
      The exit status of `loop.train`, and whether each test image is read as its class, (N,) bool; None if the training
      was stopped or diverged.
    """
    with tempfile.TemporaryDirectory(prefix="vqjax-samples-") as directory:
        path, workdir = Path(directory) / "samples.npz", Path(directory) / "classifier"
        splits = {"train": samples.arrays, "test": test.arrays}
        arrays: dict[str, Any] = {f"{split}_{kind}": part[kind] for split, part in splits.items() for kind in part}
        np.savez(path, **arrays)
        changes = {**_AS_THEY_ARE, "data.path": str(path), "init_from": "", "tracker": "", "seed": seed}
        status = loop.train(ConfigDict(with_fields(config.to_dict(), changes)), workdir, next_commands=())
        print("the workdir of the classifier of samples is removed")
        if status:
            return status, None
        probabilities = Classifier.load(workdir).predict(test.arrays["image"])
    return 0, probabilities.argmax(1) == test.arrays["label"]
