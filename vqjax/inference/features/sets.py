"""Sets of images of a run, read by a classifier, and how they compare."""

from collections.abc import Callable
from typing import Any

import numpy as np

from vqjax.data import datasets
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.inference.classifier import Classifier
from vqjax.inference.features.bootstrap import Interval, resample_counts, share_interval
from vqjax.inference.features.comparison import FeatureSet, Figures, compare_sets
from vqjax.inference.features.distances import nearest_distances
from vqjax.inference.features.neighborhoods import NEIGHBORS, memorization_interval
from vqjax.inference.features.score import train_on_samples
from vqjax.inference.functions import to_uint8
from vqjax.inference.prior import Prior
from vqjax.inference.tokenizer import Tokenizer
from vqjax.system.errors import InputError
from vqjax.system.terminal import timed

_CHUNK = 2_048  # images that are decoded and changed at a time
SAMPLES, RECONSTRUCTIONS, TRAIN = "samples against test", "reconstructions against test", "test against train"


def _same(images: np.ndarray) -> np.ndarray:
    return images


class RunSets:
    """Sets of a run: test and train, reconstructions and, of a prior, samples.

    Attributes:
      count: images of each that are compared, those of test and train chosen at random.
    """

    def __init__(self, model: Tokenizer | Prior, classifier: Classifier, dataset: Dataset, num: int | None, seed: int):
        """Choose the images. Raises InputError unless there are so many, and more than neighbors."""
        self._classifier, self._dataset, self._seed = classifier, dataset, seed
        self._prior = model if isinstance(model, Prior) else None
        self._tokenizer = model.tokenizer if isinstance(model, Prior) else model
        self._train, test = datasets.load_splits(dataset, ("train", "test")).values()
        most = min(len(self._train), len(test))
        self.count = most if num is None else num
        if most <= NEIGHBORS:
            raise InputError(f"--features: expected more than {NEIGHBORS} images in train and in test, found {most}")
        if not NEIGHBORS < self.count <= most:
            smaller = "test" if most == len(test) else "train"
            raise InputError(f"--num={self.count}: expected from {NEIGHBORS + 1} to the {most:,} images of {smaller}")
        self._rng = np.random.default_rng(seed)
        rows, self._train_rows = (
            np.sort(self._rng.choice(len(split), self.count, replace=False)) for split in (test, self._train)
        )
        self._test = Split(image=np.asarray(test.arrays["image"][rows]), label=test.arrays["label"][rows])

    def compare(self) -> dict[str, Figures]:
        """Return the figures of each comparison, what the run makes first, and then the floors."""
        images, labels = self._test.arrays["image"], self._test.arrays["label"]
        test = self._set("test", images, labels)
        train = self._train_features()
        some = self._resampled(train[self._train_rows] if self._prior else train)
        reconstructions = self._set("reconstructions", images, labels, self._tokenizer.reconstruct)
        samples = self._samples(self._prior) if self._prior else None
        comparisons: dict[str, Figures] = {}
        with timed("figures and their intervals"):
            if samples:
                comparisons[SAMPLES] = {**_figures(samples, test), "memorization": _memorization(samples, test, train)}
            paired = reconstructions._replace(counts=test.counts)  # an image of test and its own are drawn together
            comparisons[RECONSTRUCTIONS] = _figures(paired, test, paired=True)
            comparisons[TRAIN] = _figures(test, some)
            if samples:
                comparisons[TRAIN]["memorization"] = _memorization(test, test, train)
        return comparisons

    def accuracy_of_samples(self) -> tuple[int, Interval | None]:
        """Train the classifier on samples, as many as the data set's train has images, and of their classes.

        Returns:
          The exit status of the training, and the share of test images that it reads as their class; None if the
          training was stopped or diverged.
        """
        assert self._prior
        labels = datasets.read_split(self._dataset, "train").arrays["label"]
        with timed(f"{len(labels):,} samples to train on"):
            samples = Split(image=self._draw(self._prior, labels), label=labels)
        status, correct = train_on_samples(self._classifier.config, samples, self._test, self._seed)
        if correct is None:
            return status, None
        return status, share_interval(correct, resample_counts(len(correct), self._rng))

    def _train_features(self) -> np.ndarray:
        """Return the features of train, all of them if samples are looked for in it."""
        images = self._train.arrays["image"]
        with timed("features of train"):
            return self._classify(images if self._prior else images[self._train_rows])[0]

    def _samples(self, prior: Prior) -> FeatureSet:
        """Draw samples, of the classes of the test images."""
        labels = self._test.arrays["label"]
        with timed(f"{len(labels):,} samples"):
            images = self._draw(prior, labels)
        return self._set("samples", images, labels if prior.conditional else None)

    def _draw(self, prior: Prior, labels: np.ndarray) -> np.ndarray:
        """Return a sample for each label, or as many of a prior without classes, (N, H, W, C) uint8."""
        drawn = prior.sample(len(labels), labels.tolist() if prior.conditional else None, seed=self._seed)
        images: np.ndarray = to_uint8(drawn.images)
        return images

    def _set(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray | None,
        change: Callable[[np.ndarray], np.ndarray] = _same,
    ) -> FeatureSet:
        """Return the features of images that should be read as labels (N,), None without; see `_classify`."""
        with timed(f"features of {name}"):
            features, classes = self._classify(images, change)
        return self._resampled(features, None if labels is None else classes == labels)

    def _resampled(self, features: np.ndarray, correct: np.ndarray | None = None) -> FeatureSet:
        """Return a set of features (N, D), with resamples."""
        return FeatureSet(features, correct, resample_counts(len(features), self._rng))

    def _classify(
        self, images: Any, change: Callable[[np.ndarray], np.ndarray] = _same
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the features (N, D) float64 of images, and the classes (N,) that they are read as.

        Args:
          images: (N, H, W, C) uint8, in memory or not.
          change: makes others of images first, in [0, 1], which are rounded to 8 bits as a file would be.
        """
        parts = []
        for start in range(0, len(images), _CHUNK):
            chunk = change(np.asarray(images[start : start + _CHUNK]))
            parts.append(self._classifier.classify(chunk if chunk.dtype == np.uint8 else to_uint8(chunk)))
        features, probabilities = (np.concatenate(arrays) for arrays in zip(*parts))
        return features.astype(np.float64), probabilities.argmax(1)


def _figures(first: FeatureSet, second: FeatureSet, paired: bool = False) -> Figures:
    """Return the figures of two sets, with the share of the first that is read as its class, if it has classes."""
    figures = compare_sets(first, second, paired)
    return figures if first.correct is None else {**figures, "accuracy": share_interval(first.correct, first.counts)}


def _memorization(samples: FeatureSet, test: FeatureSet, train: np.ndarray) -> Interval:
    far, near = (nearest_distances(each.features, train) for each in (samples, test))
    return memorization_interval(far, near, samples.counts, test.counts)
