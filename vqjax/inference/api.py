"""Trained models in Python: `vqjax.load` and what it gives. docs/python.md shows them at work."""

import functools
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from vqjax import tasks
from vqjax.config import loading
from vqjax.config.annotations import Positive, Seed
from vqjax.config.check import check_name, check_value
from vqjax.data.splits import Split
from vqjax.inference.generation import SampleBatch, check_sampling, class_numbers, sample_rows
from vqjax.inference.inputs import as_codes, as_images, to_pixel_levels
from vqjax.runs import devices
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import read_json
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.base import Task
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.prior import PriorTask

_MOST, _PIXELS = 256, 2**18  # images at a time, and their pixels, unless one image has more


class Model:
    """What every trained model knows of itself.

    Attributes:
      step: of the checkpoint whose weights it has.
      facts: the run's run.json: "dataset", "image_shape" (H, W, C), "class_names", versions.
    """

    def __init__(self, path: Path, task: Task, fixed: Mapping[str, Any], step: int):
        """`fixed`: what its functions need, on the host."""
        self.step, self.facts = step, task.facts
        self._path, self._map = path, devices.Mapper(fixed, task.settings.parallel)

    @property
    def config(self) -> ConfigDict:
        """Config of its run."""
        return Workdir(self._path, "workdir").config()

    @property
    def metrics(self) -> dict[str, Any]:
        """The run's eval.json: the figures of the split and the step that it names; {} if there is none."""
        path = self._path / "eval.json"
        return dict(read_json(path)) if path.is_file() else {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels; () without labels."""
        return tuple(self.facts["class_names"])

    def __repr__(self) -> str:
        return f"<vqjax.{type(self).__name__} of {self._path}, step {self.step}>"

    def _run(self, function: Callable, pixels: int, **arrays: np.ndarray) -> Any:
        """A function of the fixed and a batch, over all rows of the arrays; `pixels` are those of an image."""
        batch_size = min(_MOST, 1 << max(0, (_PIXELS // pixels).bit_length() - 1))
        return self._map(function, Split(**arrays), batch_size, "images")


class Tokenizer(Model):
    """A trained autoencoder: images to codes and back.

    Images are (N, H, W, C), uint8, or float in [0, 1], told apart by their dtype; (N, H, W) too if C is 1; or a list of
    Pillow images of one size, whose mode is converted. H and W may be others than in training where the stride divides
    them. Whatever is given, NumPy or JAX, what comes back is NumPy. Wrong input is a ValueError, or a TypeError if it
    has the wrong type.

    Attributes:
      num_codes: K; 0 if the model has no codes.
      stride: pixels per position of the grid, in each direction.
    """

    def __init__(self, path: Path, task: AutoencoderTask, variables: Mapping[str, Any], step: int):
        super().__init__(path, task, variables, step)
        self._task, self._variables = task, variables
        self.layout = task.layout
        self.num_codes: int = task.layout.max_codes if task.layout else 0
        self.stride: int = task.stride

    def grid(self, height: int | None = None, width: int | None = None) -> tuple[int, int]:
        """(h, w) of the codes of an image of height x width pixels, by default of the size in training.

        Raises ValueError if the stride does not divide them.
        """
        height, width = (
            size if given is None else given for given, size in zip((height, width), self._task.image_shape[-3:-1])
        )
        if height < 1 or width < 1 or height % self.stride or width % self.stride:
            raise InputError(f"images of {height} x {width} pixels: expected multiples of the stride {self.stride}")
        return height // self.stride, width // self.stride

    @functools.cached_property
    def codebook(self) -> np.ndarray:
        """What the decoder sees of each code: (K, D) float32. ValueError without codes."""
        self._need_codes()
        return np.asarray(jax.jit(self._task.lookup)(self._variables, jnp.arange(self.num_codes)))

    def encode(self, images: Any) -> np.ndarray:
        """Images (N, H, W, C) -> codes (N, h, w) int32 in [0, K). ValueError or TypeError as of the class."""
        self._need_codes()
        images = self._images(images)
        codes: np.ndarray = self._run(self._encode, _pixels(images), image=images)
        return codes

    def decode(self, codes: Any) -> np.ndarray:
        """Codes (N, h, w), integers in [0, K), of any grid -> images (N, H, W, C) float32 in [0, 1].

        Raises ValueError for codes out of range or of another shape, TypeError for floats.
        """
        self._need_codes()
        codes = as_codes(codes, self.num_codes)
        images: np.ndarray = self._run(self._decode, _pixels(codes) * self.stride**2, codes=codes)
        return images

    def reconstruct(self, images: Any) -> np.ndarray:
        """Images (N, H, W, C) -> what comes back, (N, H, W, C) float32 in [0, 1]; also of models without codes."""
        images = self._images(images)
        found: np.ndarray = self._run(self._reconstruct, _pixels(images), image=images)
        return found

    def _images(self, images: Any) -> np.ndarray:
        images = as_images(images, self._task.image_shape[-1])
        self.grid(*images.shape[1:3])
        return images

    def _need_codes(self) -> None:
        if not self.num_codes:
            raise InputError(f"a model of config.model.quantizer={self.config.model.quantizer!r} has no codes")

    def _encode(self, variables: Mapping, batch: Mapping) -> jax.Array:
        return self._task.encode(variables, to_pixel_levels(batch["image"]))

    def _decode(self, variables: Mapping, batch: Mapping) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # the same images on every device
            return self._task.decode(variables, batch["codes"])

    def _reconstruct(self, variables: Mapping, batch: Mapping) -> jax.Array:
        if self.num_codes:
            return self._decode(variables, {"codes": self._encode(variables, batch)})
        return self._task.reconstruct(variables, to_pixel_levels(batch["image"]))


class Samples(NamedTuple):
    """Drawn from a prior.

    Attributes:
      images: (N, H, W, C) float32 in [0, 1].
      codes: (N, h, w) int32.
      classes: (N,) int32, their numbers; None of a prior without classes.
    """

    images: np.ndarray
    codes: np.ndarray
    classes: np.ndarray | None


class Prior(Model):
    """A trained distribution over the codes of a tokenizer.

    Attributes:
      conditional: whether it is one on the class.
    """

    def __init__(self, path: Path, task: PriorTask, variables: Mapping[str, Any], step: int):
        super().__init__(path, task, {"prior": variables, "stage1": task.stage1.variables}, step)
        self._task, self.conditional = task, task.conditional

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Of its codes: that of the checkpoint which it was trained on."""
        stage1 = self._task.stage1
        return Tokenizer(stage1.path, stage1.task, stage1.variables, stage1.step)

    def sample(
        self,
        n: int,
        classes: Iterable[int | str] | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Samples:
        """Draws images. The same arguments draw the same; a sample does not depend on how many come after it.

        Args:
          n: how many.
          classes: their numbers or names, to cycle over; by default all.
          seed: of the noise, from 0 to 2**32 - 1.
          temperature: divides the logits.
          top_k: draw among so many codes, the most probable; 0: among all.
          top_p: draw among the most probable codes that have this probability together.

        Raises:
          ValueError: an argument is out of range, or a class does not exist. TypeError: it is of another type.
        """
        n = check_value(operator.index(n), Positive, "n")
        seed = check_value(operator.index(seed), Seed, "seed")
        given = {"temperature": float(temperature), "top_k": operator.index(top_k), "top_p": float(top_p)}
        sampling = check_sampling(given, self.tokenizer.num_codes)
        chosen = self._classes(classes)
        labels = np.resize(np.asarray(chosen, np.int32), n)
        rows = sample_rows(labels, seed)
        height, width, _ = self._task.image_shape
        codes, images = self._run(SampleBatch(self._task, sampling), height * width, **rows.arrays)
        return Samples(images, codes, labels if self.conditional else None)

    def log_prob(self, codes: Any, classes: Iterable[int | str] | int | str | None = None) -> np.ndarray:
        """ln p(codes | class) of each image, in nats: (N,) float32, at most 0.

        Args:
          codes: (N, h, w), integers in [0, K), of the grid in training.
          classes: a number or name for each, or one for all; None of a prior without classes.

        Raises:
          ValueError: codes or classes of another number or shape, or out of range. TypeError: codes that are floats.
        """
        codes = as_codes(codes, self.tokenizer.num_codes, self._task.layout.levels[0].grid)
        if classes is None and self.conditional:
            raise InputError("classes: expected one for each image, this prior was trained with classes")
        chosen = self._classes(classes)
        if len(chosen) not in (1, len(codes)):
            raise InputError(f"{len(chosen)} classes for {len(codes)} images: expected one for each, or one for all")
        labels = np.resize(np.asarray(chosen, np.int32), len(codes))
        height, width, _ = self._task.image_shape
        found: np.ndarray = self._run(self._log_prob, height * width, codes=codes, label=labels)
        return found

    def _classes(self, classes: Any) -> list[int]:
        """The numbers of the classes."""
        if classes is not None and (isinstance(classes, str) or not np.ndim(classes)):
            classes = [classes]
        chosen = class_numbers(classes, self._task, "classes")
        if not chosen:
            raise InputError("classes: expected one or more, found none")
        return chosen

    def _log_prob(self, fixed: Mapping, batch: Mapping) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # as in sampling
            logits = self._task.apply_eval(fixed["prior"], batch)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, self._task.codes(batch))
        return -nats.sum(1)


class Classifier(Model):
    """A trained classifier, end to end or on a frozen autoencoder. `class_names` are in the order of its columns."""

    def __init__(self, path: Path, task: ClassifierTask, variables: Mapping[str, Any], step: int):
        super().__init__(path, task, {"variables": variables, "frozen": task.frozen}, step)
        self._task = task

    def predict(self, images: Any) -> np.ndarray:
        """Images of the size in training -> the probabilities of the classes, (N, classes) float32.

        What images may be, and what is raised, is as of `Tokenizer`; another size is a ValueError.
        """
        height, width, channels = self._task.image_shape
        images = as_images(images, channels)
        if images.shape[1:3] != (height, width):
            found = " x ".join(map(str, images.shape[1:3]))
            raise InputError(f"images of {found} pixels: expected {height} x {width}, as in training")
        probabilities: np.ndarray = self._run(self._predict, height * width, image=images)
        return probabilities

    def _predict(self, fixed: Mapping, batch: Mapping) -> jax.Array:
        batch = {**batch, "image": to_pixel_levels(batch["image"])}
        return self._task.probabilities(fixed["variables"], fixed["frozen"], batch)


MODELS: dict[str, Callable[..., Model]] = {
    "autoencoder": Tokenizer,
    "prior": Prior,
    "classifier": Classifier,
    "code_classifier": Classifier,
}


def load(workdir: str | Path, step: int | None = None, stage1: str | Path | None = None) -> Any:
    """A trained model, by its workdir.

    Args:
      workdir: of the run.
      step: of the checkpoint; by default the best one by the validation share, or else the last.
      stage1: the workdir of the autoencoder, if it is not where the run was trained on it.

    Returns:
      A `Tokenizer`, `Prior` or `Classifier`, as the run's task has it; typed Any, since only the workdir tells which.

    Raises:
      FileNotFoundError: there is no run in the workdir.
      ValueError: there is no such checkpoint, or the run's stage 1 is gone, retrained or another one.
    """
    run = Workdir(workdir, "workdir")
    if not run.exists:
        found = "no config.json in it" if run.path.is_dir() else "no such directory"
        raise FileNotFoundError(f"{workdir}: expected the workdir of a trained model, found {found}")
    try:
        task = tasks.load_task(run, None if stage1 is None else str(stage1))
        check_name(MODELS, task.settings.task, f"{workdir}: config.task")
        step, variables = run.restore_variables(task.abstract_variables, step)
        return MODELS[task.settings.task](run.path, task, variables, step)
    except InputError as error:  # it speaks of flags
        raise InputError(re.sub(r"--(?=(workdir|stage1|step)\b)", "", str(error))) from error


def config(name: str) -> ConfigDict:
    """A config that comes with vqjax, or of a file: "digits", "classifier:mnist", "my_config.py".

    Raises ValueError if there is none.
    """
    return loading.load_config(*loading.find_config(name))


def _pixels(array: np.ndarray) -> int:
    """Positions of an image or of its codes, (N, H, W, ...)."""
    return int(array.shape[1] * array.shape[2])
