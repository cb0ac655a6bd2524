"""Trained classifiers."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vqjax.data.images import read_image
from vqjax.inference.base import Model
from vqjax.inference.image_files import find_images
from vqjax.inference.inputs import as_training_images, to_pixel_levels
from vqjax.inference.tables import write_table
from vqjax.runs.workdir import Workdir
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError
from vqjax.system.paths import output_path

_FILES = 256  # image files that are read before they are classified


class Prediction(NamedTuple):
    """Classes of an image file.

    Attributes:
      file: its path.
      probabilities: (classes,) float32.
      notes: on how the image was made to fit, "converted from RGB to L" for example.
    """

    file: str
    probabilities: np.ndarray
    notes: Sequence[str]

    @property
    def label(self) -> int:
        """Number of the most probable class."""
        return int(self.probabilities.argmax())


class Classifier(Model):
    """A trained classifier, end to end or on a frozen autoencoder. `class_names` are in the order of its columns."""

    tasks = ("classifier", "code_classifier")

    def _fixed(self, task: Any, variables: dict[str, Any]) -> Mapping[str, Any]:
        return {"variables": variables, "frozen": task.frozen}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the weights and the model's config, hexadecimal."""
        return Workdir(self.path).fingerprint(self._variables)

    @property
    def num_features(self) -> int:
        """F, the number of `features`."""
        return int(self._task.module.quantizer.code_dim)

    def predict(self, images: Any) -> np.ndarray:
        """Return the probabilities of the classes, (N, classes) float32, of images of the size in training.

        Images and errors are those of `Tokenizer`; images of another size are a ValueError.
        """
        return self.classify(images)[1]

    def features(self, images: Any) -> np.ndarray:
        """Return the features of images, (N, F) float32; the arguments are those of `predict`.

        They are the backbone's output before quantization, each channel normalized as in training, the mean over
        positions. With `head="pooled"` the last linear layer reads the same, quantized.
        """
        return self.classify(images)[0]

    def classify(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the `features` and, as `predict` does, the probabilities of images."""
        height, width, _ = self._task.image_shape
        images = as_training_images(images, self._task.image_shape)
        features, probabilities = self._map(self._classify, height * width, image=images)
        return features, probabilities

    def _classify(self, fixed: Mapping, batch: Mapping) -> tuple[jax.Array, jax.Array]:
        batch = {**batch, "image": to_pixel_levels(batch["image"])}
        classified: tuple[jax.Array, jax.Array] = self._task.classify(fixed["variables"], fixed["frozen"], batch)
        return classified

    @argument_names()
    def predict_files(self, files: Sequence[str | Path], out: str | Path | None = None) -> list[Prediction]:
        """Classify image files, which are converted and resized to what the model takes.

        Args:
          files: images, or directories of them, which are walked with all directories in them. An image in a directory
            that cannot be read is left out, with a line that says why.
          out: a table to write, as .csv: a header and a row per file.

        Returns:
          The predictions, in the order of the files.

        Raises:
          ValueError: a file is no image, there are none in a directory, or the table cannot be written.
        """
        table = output_path(out, ".csv") if out else None
        predictions = [*self._predictions(files)]
        if table:
            header = ["file", "class", "probability", *(f"p({name})" for name in self.class_names)]
            write_table(table, header, (self._row(prediction) for prediction in predictions))
        return predictions

    def _row(self, prediction: Prediction) -> list[Any]:
        label, p = prediction.label, prediction.probabilities.tolist()
        return [prediction.file, self.class_names[label], *(f"{x:.6g}" for x in (p[label], *p))]

    def _predictions(self, files: Sequence[str | Path]) -> Iterator[Prediction]:
        named = {str(file) for file in files}
        found = find_images(files)
        for start in range(0, len(found), _FILES):
            opened = []
            for file in found[start : start + _FILES]:
                with _left_out() if file not in named else contextlib.nullcontext():
                    opened.append((file, *read_image(file, self._task.image_shape)))
            if opened:
                probabilities = self.predict(np.stack([image for _, image, _ in opened]))
                yield from (Prediction(file, row, notes) for (file, _, notes), row in zip(opened, probabilities))

    @argument_names()
    def export(self, out: str | Path) -> Path:
        """Write weights, and the program classify, for other software; see docs/export.md.

        Args:
          out: a directory, new or empty.

        Returns:
          The directory.
        """
        from vqjax.inference.exports.programs import export_classifier

        return export_classifier(self._task, self._variables, self.step, out)


@contextlib.contextmanager
def _left_out() -> Iterator[None]:
    """Say that a file is left out, instead of raising InputError."""
    try:
        yield
    except InputError as error:
        print(f"left out: {error}")
