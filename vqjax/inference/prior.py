"""Trained priors, and samples of them."""

import dataclasses
import functools
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import jax
import numpy as np
import optax

from vqjax.codes import Codes
from vqjax.config.annotations import Positive, Seed
from vqjax.config.check import check_name, check_value
from vqjax.inference import functions
from vqjax.inference.base import Model
from vqjax.inference.inputs import as_codes
from vqjax.inference.tokenizer import Tokenizer
from vqjax.networks.priors.sampling import Sampling
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError, did_you_mean
from vqjax.tasks.prior import PriorTask

Classes = Iterable[int | str] | int | str | None


class Samples(NamedTuple):
    """Samples of a prior.

    Attributes:
      images: (N, H, W, C) float32 in [0, 1].
      codes: int32, see Tokenizer.
      classes: (N,) int32, their numbers; None of a prior without classes.
    """

    images: np.ndarray
    codes: Codes
    classes: np.ndarray | None


class Prior(Model):
    """A trained distribution over the codes of a tokenizer.

    Attributes:
      conditional: whether it is one on the class.
    """

    tasks = ("prior",)

    def __init__(self, path: Path, task: PriorTask, variables: dict[str, Any], step: int):
        super().__init__(path, task, variables, step)
        self.conditional: bool = task.conditional

    def _fixed(self, task: PriorTask, variables: dict[str, Any]) -> Mapping[str, Any]:
        return {"prior": variables, "stage1": task.stage1.variables}

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of its codes, at the checkpoint that it was trained on."""
        stage1 = self._task.stage1
        return Tokenizer(stage1.path, stage1.task, stage1.variables, stage1.step)

    @argument_names()
    def sample(
        self,
        num: int,
        classes: Classes = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        batch: int | None = None,
    ) -> Samples:
        """Draw images. The same arguments draw the same; a sample does not depend on how many come after it.

        Args:
          num: how many.
          classes: their numbers or names, to cycle over; by default all.
          seed: of the noise, from 0 to 2**32 - 1.
          temperature: divides the logits.
          top_k: draw among so many codes, the most probable; 0: among all.
          top_p: draw among the most probable codes that have this probability together.
          batch: images that are drawn at a time; they do not depend on it.

        Raises:
          ValueError: an argument is out of range, or a class does not exist. TypeError: it is of another type.
        """
        num = check_value(operator.index(num), Positive, "--num")
        seed = check_value(operator.index(seed), Seed, "--seed")
        if batch is not None:
            check_value(operator.index(batch), Positive, "--batch")
        given = {"temperature": float(temperature), "top_k": operator.index(top_k), "top_p": float(top_p)}
        sampling = _check_sampling(given, self._task.layout.max_codes)
        labels = np.resize(np.asarray(self._class_numbers(classes), np.int32), num)
        rows = {"label": labels, "seed": np.full(num, seed, np.uint32)}
        codes, images = self._map(_SampleBatch(self._task, sampling), self._pixels, batch, **rows)
        return Samples(images, codes, labels if self.conditional else None)

    @argument_names()
    def sample_files(
        self,
        num: int = 80,
        out: str | Path | None = None,
        format: str = "grid",
        neighbors: bool = False,
        data_dir: str | None = None,
        data_path: str | None = None,
        **options: Any,
    ) -> list[Path]:
        """Draw images and write them.

        Args:
          num: how many.
          out: of format "grid" a picture, by default samples.png in the workdir; of "png" a directory, new or empty, by
            default samples in the workdir.
          format: "grid" for one picture of the first 400, and beside it an .npz with `images` uint8, codes and
            `classes`; "png" for a file per image, samples.csv with their classes, and codes.npz.
          neighbors: put the nearest training image below each sample.
          data_dir, data_path: where the training images are now; see docs/data.md.
          **options: see `sample`.

        Returns:
          The paths that were written.
        """
        from vqjax.inference import samples

        check_name(samples.FORMATS, format, "--format")
        path = samples.FORMATS[format].path(out, self.path)
        numbers = self._class_numbers(options.get("classes"))
        training = samples.training_images(self._task, data_dir, data_path) if neighbors else None
        drawn = self.sample(num, **options)
        images = functions.to_uint8(drawn.images)
        rows = samples.Drawn(
            images=images,
            codes=samples.smallest(self._task.layout, drawn.codes),
            classes=drawn.classes,
            captions=None if drawn.classes is None else [self.class_names[label] for label in drawn.classes],
            period=len(numbers),
            neighbors=None if training is None else training[samples.nearest_images(images, training)],
        )
        return samples.FORMATS[format].write(path, rows)

    @argument_names()
    def log_prob(self, codes: Codes, classes: Classes = None) -> np.ndarray:
        """Return ln p(codes | class) of each image, in nats: (N,) float32, at most 0.

        Args:
          codes: on the grids in training, see Tokenizer.
          classes: a number or name for each, or one for all; None of a prior without classes.

        Raises:
          ValueError: codes or classes of another number or shape, or out of range. TypeError: codes that are floats.
        """
        layout = self._task.layout
        arrays = layout.split(as_codes(codes, layout, exact=True))
        count = len(next(iter(arrays.values())))
        if classes is None and self.conditional:
            raise InputError("--classes: expected one for each image, this prior was trained with classes")
        numbers = self._class_numbers(classes)
        if len(numbers) not in (1, count):
            raise InputError(f"{len(numbers)} classes for {count} images: expected one for each, or one for all")
        labels = np.resize(np.asarray(numbers, np.int32), count)
        nats: np.ndarray = self._map(self._log_prob, self._pixels, label=labels, **arrays)
        return nats

    @argument_names()
    def explore(
        self,
        out: str | Path | None = None,
        num: int = 64,
        split: str = "test",
        data_dir: str | None = None,
        data_path: str | None = None,
    ) -> Path:
        """Write a page that shows the codes of the tokenizer, and samples, in a browser; see `Tokenizer.explore`."""
        from vqjax.inference import explore

        def sample(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            drawn = self.sample(len(labels), labels.tolist() if self.conditional else None)
            return drawn.codes, drawn.images

        prior = explore.PriorSamples(self._task, self._variables, sample)
        source = explore.Source(self._task.stage1, self._task.settings.data, prior)
        return explore.write_page(source, self.path, out, num, split, data_dir, data_path)

    def _class_numbers(self, classes: Any) -> list[int]:
        """Return the numbers of classes, each a name or a number, of one alone or of all; [0] without classes."""
        single = isinstance(classes, str) or classes is not None and not np.ndim(classes)
        listed = None if classes is None else [classes] if single else [*classes]
        if not self.conditional:
            if listed is not None:
                raise InputError(f"--classes={','.join(map(str, listed))}: this prior was trained without classes")
            return [0]
        if listed is None:
            return [*range(len(self.class_names))]
        if not listed:
            raise InputError("--classes: expected one or more, found none")
        return [_class_number(name, self.class_names) for name in listed]

    @property
    def _pixels(self) -> int:
        height, width, _ = self._task.image_shape
        return int(height * width)

    def _log_prob(self, fixed: Mapping, batch: Mapping) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # as in sampling
            logits = self._task.apply_eval(fixed["prior"], batch)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, self._task.codes(batch))
        return -nats.sum(1)


def _class_number(given: Any, names: tuple[str, ...]) -> int:
    """Return the number of a class. Raises InputError if it does not exist."""
    word = str(given).strip()
    if isinstance(given, str) and word in names:
        return names.index(word)
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    raise InputError(
        f"--classes: {word!r} is unknown.{did_you_mean(word, names)}\n"
        f"Known: {shown}, or numbers from 0 to {len(names) - 1}"
    )


def _check_sampling(given: Mapping[str, Any], num_codes: int) -> Sampling:
    """Return the arguments of those names, checked."""
    hints = get_type_hints(Sampling, include_extras=True)
    sampling = Sampling(**{name: check_value(value, hints[name], f"--{name}") for name, value in given.items()})
    if sampling.top_k > num_codes:
        raise InputError(f"--top_k={sampling.top_k}: expected at most the {num_codes} codes of stage 1")
    return sampling


@dataclasses.dataclass(frozen=True)
class _SampleBatch:
    """Function that draws a batch: two that are equal are compiled once."""

    prior: PriorTask
    sampling: Sampling

    def __call__(self, fixed: Mapping[str, Any], rows: Mapping[str, jax.Array]) -> tuple[Codes, jax.Array]:
        """Draw codes and images (B, H, W, C) in [0, 1].

        Args:
          fixed: variables of the "prior" and of "stage1".
          rows: `label`, `example`, and `seed`, the same in every row, (B,) each.
        """
        sequences = self.prior.sample(fixed["prior"], rows, rows["seed"][0], self.sampling)
        codes = self.prior.layout.unflatten(sequences)
        return codes, functions.decode(self.prior.stage1.task, fixed["stage1"], codes)
