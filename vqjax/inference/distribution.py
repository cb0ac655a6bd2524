"""Trained distributions over codes: drawing, completing, scoring."""

import functools
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, Unpack

import numpy as np

from vqjax.codes import CodeLayout, Codes
from vqjax.config.annotations import Positive, Range
from vqjax.config.check import check_value
from vqjax.inference.base import Model, find_run
from vqjax.inference.drawing import DrawBatch, DrawOptions, Steps, check_options
from vqjax.inference.inputs import as_codes, as_training_images
from vqjax.inference.keep import as_keep, known_codes
from vqjax.inference.scoring import ScoreBatch
from vqjax.inference.tokenizer import Tokenizer
from vqjax.networks.priors.requests import check_known, check_order, check_steps
from vqjax.networks.priors.steps import best_groups
from vqjax.runs.workdir import Workdir
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError, did_you_mean
from vqjax.tasks.order_prices import read_nats
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.top_prior import check_top_prior
from vqjax.training.evaluation import evaluation_dir

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


class Distribution(Model):
    """A trained distribution over the codes of a tokenizer.

    Attributes:
      conditional: whether it is one on the class.
    """

    tasks = ("prior",)

    def __init__(self, path: Path, task: PriorTask, variables: dict[str, Any], step: int):
        super().__init__(path, task, variables, step)
        self.conditional: bool = task.conditional

    def _fixed(self, task: PriorTask, variables: dict[str, Any]) -> Mapping[str, Any]:
        priors = tuple(prior._variables for prior in self._chain)
        return {"priors": priors, "stage1": task.stage1.variables}

    @functools.cached_property
    def above(self) -> Self | None:
        """Prior of the levels of codes that this one is given, `config.top_prior`; None if there is none."""
        task = self._task
        if not task.settings.top_prior:
            return None
        check_top_prior(task.settings, task.stage1)
        return self._of_run(find_run(task.settings.top_prior), None, task.stage1)

    @property
    def _chain(self) -> "tuple[Distribution, ...]":
        """The priors above this one, coarse to fine, and this one."""
        return (*self.above._chain, self) if self.above else (self,)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of its codes, at the checkpoint that it was trained on."""
        stage1 = self._task.stage1
        return Tokenizer(stage1.path, stage1.task, stage1.variables, stage1.step)

    @argument_names()
    def sample(self, num: int, classes: Classes = None, **options: Unpack[DrawOptions]) -> Samples:
        """Draw images. The same arguments draw the same; a sample does not depend on how many come after it.

        Args:
          num: how many.
          classes: their numbers or names, to cycle over; by default all.
          **options: see `DrawOptions`.

        Raises:
          ValueError: an argument is out of range, or a class does not exist. TypeError: it is of another type.
        """
        num = check_value(operator.index(num), Positive, "--num")
        labels = np.resize(np.asarray(self._class_numbers(classes), np.int32), num)
        codes, images = self._draw(labels, options)
        return Samples(images, codes, labels if self.conditional else None)

    @argument_names()
    def complete(
        self,
        images: Any,
        keep: Any,
        classes: Classes = None,
        num: int = 1,
        **options: Unpack[DrawOptions],
    ) -> Samples:
        """Complete images: keep some of their pixels, and draw the codes of the others.

        Args:
          images: as of `Tokenizer.encode`, of the size in training.
          keep: (H, W) bool, True where pixels are kept, or (N, H, W). A code is kept where all of its pixels are; the
            pixels that are kept come back as they were given.
          classes: a number or name for each image, or one for all, which may be another than the image's: that is
            editing. Without it the prior is not told a class; one that always is needs it.
          num: completions of each image.
          **options: see `DrawOptions`.

        Returns:
          Samples of N num images, those of one image after each other.

        Raises:
          ValueError: an argument is out of range, of another shape, or more than the prior can do: a PixelCNN draws
            what lies behind the codes that are kept, row by row.
        """
        num, task = check_value(operator.index(num), Positive, "--num"), self._task
        images = as_training_images(images, task.image_shape)
        kept = as_keep(keep, *images.shape[:3])
        labels = self._labels_of(classes, len(images))
        unread = np.zeros((len(images), task.layout.length), np.int32)
        known = known_codes(unread, kept, task.layout, task.stage1.task.module.strides)
        self._plan(options, known)  # refuses what cannot be done before the images are encoded
        known = np.where(known < 0, known, task.layout.flatten(self.tokenizer.encode(images)))
        known, kept, images, labels = (np.repeat(array, num, axis=0) for array in (known, kept, images, labels))
        codes, drawn = self._draw(labels, options, known)
        original = images / np.float32(255) if images.dtype == np.uint8 else images
        classes_told = labels if self.conditional and labels.max() < len(self.class_names) else None
        return Samples(np.where(kept[..., None], original, drawn), codes, classes_told)

    def _labels_of(self, classes: Classes, count: int) -> np.ndarray:
        """Return a label for each image, (N,) int32; that of no class where none is given."""
        if classes is None and self.conditional:
            if not self._task.module.has_no_class:
                raise InputError("--classes: expected one for each image, this prior always knows the class")
            return np.full(count, len(self.class_names), np.int32)
        numbers = self._class_numbers(classes)
        if len(numbers) not in (1, count):
            raise InputError(f"{len(numbers)} classes for {count} images: expected one for each, or one for all")
        return np.resize(np.asarray(numbers, np.int32), count)

    def _draw(
        self, labels: np.ndarray, options: DrawOptions, known: np.ndarray | None = None
    ) -> tuple[Codes, np.ndarray]:
        """Return codes, and images (N, H, W, C) in [0, 1], drawn for labels (N,) and known codes (N, L)."""
        draw, seed, batch = self._plan(options, known)
        rows = {"label": labels, "seed": np.full(len(labels), seed, np.uint32)}
        if known is not None:
            rows["known"] = known
        codes, images = self._map(draw, self._pixels, batch, **rows)
        return codes, images

    def _plan(self, options: DrawOptions, known: np.ndarray | None) -> tuple[DrawBatch, int, int | None]:
        """Return the function that draws a batch, the seed, and the images at a time. Raises InputError, see `sample`.

        Known codes (N, L) are -1 where one is drawn, whatever the others are.
        """
        if self._chain[0]._task.module.modeled.start:
            raise InputError(
                f"{self.path}: this prior draws level {self._task.modeled.levels[0].name!r} given those before it\n"
                "Expected config.top_prior, the workdir of a prior of them"
            )
        sampling, seed = check_options(options, self._task.module)
        batch, steps = options.get("batch"), options.get("steps")
        if batch is not None:
            check_value(operator.index(batch), Positive, "--batch")
        num_known, length = 0, self._chain[0]._task.layout.length  # the priors below see more codes, and know more
        if known is not None:
            num_known = int((known[:, :length] >= 0).sum(1).min())
            for prior in self._chain:
                check_known(prior._task.module, known[:, : prior._task.layout.length], "--keep")
        groups = self.groups(steps, num_known).groups if steps is not None else None
        draw = DrawBatch(tuple(prior._task for prior in self._chain), sampling, groups, num_known)
        return draw, seed, batch

    @argument_names()
    def groups(self, steps: int, num_known: int = 0) -> Steps:
        """Return how many codes are drawn together in each of so many steps, and the nats per code to be expected.

        The sizes are the best ones by what the nats of one more code are when t are known, as the run's evaluation has
        measured them (Hoogeboom et al. 2022, arXiv 2110.02037); all nats are by the same measurement. The known codes
        come first. Without groups for a step per code, which are then drawn in raster order where none is known.

        Raises:
          ValueError: more steps than codes or fewer than one, or fewer than codes by a prior of raster order alone, or
            of a checkpoint that was not evaluated; no such number of known codes.
        """
        module, length = self._task.module, self._task.layout.length
        check_steps(module, operator.index(steps), "--steps")
        check_value(operator.index(num_known), Annotated[int, Range(0, length)], "num_known")
        if steps >= length - num_known:
            return Steps()
        nats = read_nats(self.path, self.step)
        if nats is None:
            nats = read_nats(evaluation_dir(Workdir(self.path), self.step), self.step)
        if nats is None:
            raise InputError(
                f"--steps={steps}: {self.path} has no nats by the number of known codes at step {self.step}; "
                "evaluate that step, which measures them"
            )
        sizes, total = best_groups(nats, steps, num_known)
        groups = (num_known,) * bool(num_known) + sizes
        return Steps(groups, total / (length - num_known), float(nats[num_known:].mean()))

    @argument_names()
    def log_prob(self, codes: Codes, classes: Classes = None, order: Any = None, guidance: float = 1.0) -> np.ndarray:
        """Return ln p(codes | class) of each image, in nats: (N,) float32, at most 0.

        Of a prior that is given other levels, and has no `above`, it is that of its own level given them.

        Args:
          codes: on the grids in training, see Tokenizer.
          classes: a number or name for each, or one for all; None of a prior without classes, or for the probability
            without knowing the class, where the prior can tell that.
          order: a permutation of the L places, in which the codes become known one by one; None: raster order.
          guidance: of the distribution that is asked about, see `DrawOptions`.

        Raises:
          ValueError: codes or classes of another number or shape, or out of range; an order that the prior cannot
            follow, or guidance of one that has no classes. TypeError: codes that are floats.
        """
        nats: np.ndarray = -self._nats(codes, classes, order, guidance).sum(1)
        return nats

    @argument_names()
    def nats_by_place(self, codes: Codes, classes: Classes = None) -> dict[str, np.ndarray]:
        """Return the nats of each code given those before it in raster order.

        The arguments and errors are those of `log_prob`.

        Returns:
          Grids (N, h, w) by a suffix for level and depth, "" where there is one; see `CodeLayout.maps`.
        """
        return self.scored.maps(self._nats(codes, classes))

    @property
    def scored(self) -> CodeLayout:
        """Layout of the codes whose nats are known."""
        return self._task.layout if self.above else self._task.modeled

    def _nats(self, codes: Codes, classes: Classes, order: Any = None, guidance: float = 1.0) -> np.ndarray:
        """Return the nats (N, n) of codes at their places in `scored`."""
        layout = self._task.layout
        sampling, _ = check_options({"guidance": guidance}, self._task.module)
        arrays = layout.split(as_codes(codes, layout, exact=True))
        count = len(next(iter(arrays.values())))
        rows = {"label": self._labels_of(classes, count), **arrays}
        if order is not None:
            order = np.asarray(order)
            check_order(self._task.module, order, "--order")
            rows["order"] = np.broadcast_to(order.astype(np.int32), (count, layout.length))
        score = ScoreBatch(tuple(prior._task for prior in self._chain), sampling.guidance)
        nats: np.ndarray = self._map(score, self._pixels, **rows)
        return nats

    def _class_numbers(self, classes: Any) -> list[int]:
        """Return the numbers of classes, each a name or a number, of one alone or of all; [0] without classes."""
        single = isinstance(classes, str) or not isinstance(classes, Iterable) or getattr(classes, "ndim", 1) == 0
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
