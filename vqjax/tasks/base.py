"""The contract of tasks: the loop, the evaluation and the commands know a task by this class alone.

A task is built once per run, of its settings and of facts: what run.json says, or of a new run, until its data is read,
what is known without reading it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from vqjax.config.schema import Settings
from vqjax.data import augmentation, datasets
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.system.errors import InputError


class Pictures(NamedTuple):
    """Images to look at.

    Attributes:
      images: (B, H, W, C) in [0, 1], or clips (B, T, H, W, C).
      captions: a text for each, or None.
      below: as images, a second one close under each, or None.
      title: what is seen, or "".
      wrong: whether what a caption says of its image is an error, or None.
    """

    images: Any
    captions: Sequence[str] | None = None
    below: Any = None
    title: str = ""
    wrong: Sequence[bool] | None = None


class Task:
    """The contract, with the defaults of a task that has nothing to say on a point.

    A task writes `build`, `inputs` and `loss`. It may write the other ten methods of the first three parts
    below; the defaults do for images without a stage 1, and for a Flax module called as
    `module(x, train, progress, keys)`. Metrics of a batch are means over its examples.

    Attributes:
      module: the Flax module.
      settings: of the run.
      facts: of the data and of stage 1, as run.json has them.
      stage1: the frozen autoencoder that a second stage stands on; None in a first stage.
      notes: lines that a user is told before a run begins.
      runs: fields of the config that name other runs: `stage1` of a second stage.
      clips: whether it takes clips (T, H, W, C) in the place of images.
      headline: metrics of the progress bar.
      curves: metrics that are plotted against the step.
      monitored: the metric that the best checkpoint has lowest; highest, if a "-" stands before it.
    """

    module: nn.Module
    stage1: Any
    runs: tuple[str, ...] = ()
    clips: bool = False
    headline: tuple[str, ...] = ("loss",)
    curves: tuple[str, ...] = ("loss",)
    monitored: str = "loss"

    def __init__(self, settings: Settings, facts: Mapping[str, Any], stage1: Any = None):
        """Raises InputError for any field of `config.model` that is wrong, in itself or for the data."""
        self.settings, self.facts, self.stage1 = settings, facts, stage1
        self.notes: list[str] = []
        if len(self.image_shape) > 3 and not self.clips:
            raise InputError(
                f"config.task={settings.task!r}: expected images, but those of config.data.name={facts['dataset']!r} "
                f"are clips of {self.image_shape[0]} frames"
            )
        self.augmentation = augmentation.augment_options(settings.data, self.image_shape)
        self.build()

    def build(self) -> None:
        """Set `module`, of `settings.model`. Raises InputError for a field that is wrong, in itself or for the data."""
        raise NotImplementedError

    # What is optimized

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Return fresh variables {"params", collection, ...}; traceable."""
        variables: Any = self.module.init(key, np.zeros((1, *self.input_shape), np.float32), False)
        return variables

    def initialize(self, variables: dict[str, Any], batches: Iterator[Mapping], seed: int) -> dict[str, Any]:
        """Return the variables before step 0, made of fresh ones and of training batches."""
        return variables

    def inputs(self, batch: Mapping) -> jax.Array:
        """Return the module's input, (B, ...)."""
        raise NotImplementedError

    def apply(
        self, variables: Mapping, batch: Mapping, train: bool, progress: Any = 1.0, keys: jax.Array | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Apply the module to a batch.

        Args:
          variables: of the module.
          batch: as `prepare` leaves it.
          train: or evaluate, every example on its own.
          progress: share of the run that is done, from 0 to 1.
          keys: (B,), one for each example, in training.

        Returns:
          The output, and in training the collections other than params and constants as they are afterwards. What
          `after_update` needs of the batch is the output's attribute `vectors`, if it has one: a tree of arrays
          (B, ...).
        """
        if not train:
            return self.module.apply(variables, self.inputs(batch), False), {}
        collections = [name for name in variables if name not in ("params", "constants")]
        applied: Any = self.module.apply(variables, self.inputs(batch), True, progress, keys, mutable=collections)
        return applied

    def loss(self, output: Any, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss () and the metrics of a batch."""
        raise NotImplementedError

    def eval_metrics(self, variables: Mapping, output: Any, batch: Mapping) -> dict[str, jax.Array]:
        """Return the metrics that only an evaluation computes, of the output on a batch."""
        return {}

    def after_update(self, variables: dict[str, Any], vectors: Any, gather: Callable, step: Any, key: jax.Array) -> Any:
        """Return the variables after an update, the same on every device.

        Args:
          variables: after the optimizer's update.
          vectors: of the output on the batch, on this device.
          gather: an array (B, ...) of this device -> that of the global batch.
          step: updates before this one.
          key: of the step, the same on every device.
        """
        return variables

    # What is read

    def read(self, dataset: Dataset, name: str) -> Split:
        """Read the `image` and `label` of "train" or "test", whole; or what the task takes in their place."""
        return datasets.read_split(dataset, name)

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """Prepare a batch between disk and step: with a key, augment it by that and its place in the global batch."""
        if key is None:
            return batch
        return {**batch, "image": augmentation.augment(batch["image"], batch["example"], key, **self.augmentation)}

    # What is shown

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """Return pictures of a batch by their names; `variables` on the host."""
        return {}

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        """Return commands that may come after a finished run; the workdir as a shell takes it."""
        return (f"python -m vqjax evaluate --workdir {workdir}",)

    def split_metrics(self, dataset: Dataset, name: str, split: Split) -> dict[str, np.ndarray]:
        """Return metrics of a split, given its name, that do not need the model that is trained."""
        return {}

    # What follows from these

    def apply_eval(self, variables: Mapping, batch: Mapping) -> Any:
        """Return the output on a batch in evaluation."""
        return self.apply(variables, batch, False)[0]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C), of clips (T, H, W, C)."""
        return tuple(self.facts["image_shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the labels."""
        return tuple(self.facts["class_names"])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one of the module's inputs."""
        return self.image_shape

    @property
    def abstract_variables(self) -> dict[str, Any]:
        """Names, shapes and dtypes of the variables."""
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))

    @property
    def prepares(self) -> tuple[str, ...]:
        """Batches that `prepare` changes: "train", "evaluation"."""
        return ("train",) if any(self.augmentation.values()) else ()

    @property
    def frozen(self) -> Mapping[str, Any]:
        """Variables of stage 1 that `prepare` needs, on the host."""
        return {}

    def check_useful(self, count: int) -> None:
        """Raise InputError if a new run on so many images of train can only be of no use."""
        if reasons := [*self.useless(count)]:
            raise InputError("\n".join(reasons))

    def useless(self, count: int) -> Iterator[str]:
        """Yield why a new run on so many images of train can only be of no use, a line each that says what to set."""
        if self.settings.batch_size > count:
            yield (
                f"config.batch_size={self.settings.batch_size}: expected at most the {count:,} images of train in "
                f"config.data.name={self.settings.data.name!r}; set --config.batch_size={below(count)}"
            )


def below(limit: int) -> int:
    """Return the largest power of two that is at most a limit."""
    return 1 << (limit.bit_length() - 1)


def monitored_value(task: Task, metrics: Mapping[str, float]) -> float:
    """Number by which the best checkpoint is chosen; lower is better."""
    name = task.monitored.removeprefix("-")
    return -metrics[name] if task.monitored.startswith("-") else metrics[name]


def example_keys(batch: Mapping, key: jax.Array) -> jax.Array:
    """A key for each example, (B,), by its place in the global batch."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(batch["example"])
