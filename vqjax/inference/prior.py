"""Trained priors: distributions over the codes of a tokenizer, and what is written of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from vqjax.codes import Codes
from vqjax.config.check import check_name
from vqjax.inference import functions
from vqjax.inference.distribution import Classes, Distribution
from vqjax.inference.drawing import DrawOptions
from vqjax.inference.keep import known_codes, parse_keep
from vqjax.inference.scoring import bits_of_pixels, missing_bits
from vqjax.system.arguments import argument_names
from vqjax.system.paths import output_path

if TYPE_CHECKING:
    from vqjax.inference import completions


class Prior(Distribution):
    """A trained prior. What it writes to files needs more packages than its numbers, imported when it is called.

    Attributes:
      conditional: whether it is a distribution given the class.
    """

    @argument_names()
    def sample_files(
        self,
        num: int = 80,
        classes: Classes = None,
        out: str | Path | None = None,
        format: str = "grid",
        neighbors: bool = False,
        data_dir: str | None = None,
        data_path: str | None = None,
        **options: Unpack[DrawOptions],
    ) -> list[Path]:
        """Draw images and write them.

        Args:
          num, classes, **options: see `sample`.
          out: a picture, or of format "png" a directory, new or empty; by default samples(.png) in the workdir.
          format: "grid" for one picture of the first 400, and beside it an .npz with `images` uint8, codes and
            `classes`; "png" for a file per image, samples.csv with their classes, and codes.npz.
          neighbors: put the nearest training image below each sample.
          data_dir, data_path: where the training images are now; see docs/data.md.

        Returns:
          The paths that were written.
        """
        from vqjax.inference import samples

        check_name(samples.FORMATS, format, "--format")
        path = samples.FORMATS[format].path(out, self.path)
        training = samples.training_images(self._task, data_dir, data_path) if neighbors else None
        drawn = self.sample(num, classes, **options)
        images = functions.to_uint8(drawn.images)
        rows = samples.Drawn(
            images=images,
            codes=samples.smallest(self._task.layout, drawn.codes),
            classes=drawn.classes,
            captions=None if drawn.classes is None else [self.class_names[label] for label in drawn.classes],
            period=len(self._class_numbers(classes)),
            neighbors=None if training is None else training[samples.nearest_images(images, training)],
        )
        return samples.FORMATS[format].write(path, rows)

    @argument_names()
    def complete_files(
        self,
        images: Sequence[str | Path],
        keep: str = "upper",
        classes: Classes = None,
        num: int = 4,
        out: str | Path | None = None,
        format: str = "grid",
        data_dir: str | None = None,
        data_path: str | None = None,
        **options: Unpack[DrawOptions],
    ) -> list[Path]:
        """Complete images in files and write them.

        Args:
          images: files or directories of images, which are brought to the model's size; or one text, "0,1,2", of
            numbers of test images.
          keep: see `keep.parse_keep`.
          classes, num, **options: see `complete`.
          out: of format "grid" a picture, by default completions.png in the workdir; of "png" a directory, new or
            empty, by default completions in the workdir.
          format: "grid": originals, what was kept and completions side by side; "png": a file for each completion.
          data_dir, data_path: where the test images are now; see docs/data.md.

        Returns:
          The paths that were written.
        """
        from vqjax.inference import completions

        check_name(("grid", "png"), format, "--format")
        path = completions.completion_path(out, format, self.path)
        height, width, _ = self._task.image_shape
        kept = parse_keep(keep, height, width)
        originals = completions.read_originals(images, self._task, data_dir, data_path)
        drawn = self.complete(originals.images, kept, classes, num, **options)
        captions = completions.shown_classes(drawn.classes, self.class_names, len(drawn.images))
        return completions.write_completions(path, format, originals, kept, drawn.images, captions)

    @argument_names()
    def num_kept(self, keep: str) -> int:
        """Return how many of an image's codes are kept in a completion; `keep` as of `keep.parse_keep`."""
        layout, kept = self._task.layout, parse_keep(keep, *self._task.image_shape[:2])
        codes = np.zeros((1, layout.length), np.int32)
        return int((known_codes(codes, kept[None], layout, self._task.stage1.task.module.strides) >= 0).sum())

    @argument_names()
    def likelihood_files(
        self,
        images: Sequence[str | Path],
        classes: Classes = None,
        out: str | Path | None = None,
        data_dir: str | None = None,
        data_path: str | None = None,
        guidance: float = 1.0,
    ) -> "tuple[list[completions.Score], list[Path]]":
        """Score images in files, and write a picture of where they are unlikely, and a table.

        Args:
          images, data_dir, data_path: see `complete_files`.
          classes, guidance: see `log_prob`.
          out: the picture, by default likelihood.png in the workdir; the table is beside it.

        Returns:
          The score of each image, and the paths that were written.
        """
        from vqjax.inference import completions

        path = output_path(out or self.path / "likelihood.png", ".png", beside=(".csv",))
        originals = completions.read_originals(images, self._task, data_dir, data_path)
        self._labels_of(classes, len(originals.images))  # refuses wrong ones before the images are encoded
        nats = self._nats(self.tokenizer.encode(originals.images), classes, guidance=guidance)
        bits = None if self.missing_bits else bits_of_pixels(self._task.stage1, originals.images)
        found = completions.scores(originals, nats, bits)
        return found, completions.write_likelihood(path, originals, found, nats, self.scored)

    @property
    def missing_bits(self) -> str:
        """Reason why the bits of an image are not known, those of its pixels given the codes; "" if they are."""
        return missing_bits(self._task.stage1, self.scored)

    @argument_names()
    def explore(
        self,
        out: str | Path | None = None,
        num: int = 64,
        split: str = "test",
        data_dir: str | None = None,
        data_path: str | None = None,
    ) -> Path:
        """Write a page that shows codes, samples and completions in a browser; see `Tokenizer.explore`."""
        from vqjax.inference import explore

        def sample(labels: np.ndarray) -> tuple[Codes, np.ndarray]:
            drawn = self.sample(len(labels), labels.tolist() if self.conditional else None)
            return drawn.codes, drawn.images

        def complete(images: np.ndarray, labels: np.ndarray) -> tuple[Codes, np.ndarray]:
            drawn = self.complete(images, keep, labels.tolist() if self.conditional else None)
            return drawn.codes, drawn.images

        keep = parse_keep("upper", *self._task.image_shape[:2])
        prior = explore.PriorSamples(self._task, self._variables, sample, keep, complete)
        source = explore.Source(self._task.stage1, self._task.settings.data, prior)
        return explore.write_page(source, self.path, out, num, split, data_dir, data_path)
