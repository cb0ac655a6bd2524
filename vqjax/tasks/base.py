"""What every task is: the one loop, the evaluation and the commands know a task by this class alone.

A task is built once per run, of its config and of facts: what run.json says, or of a new run, until its data is read,
what is known without reading it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax.config.schema import Run
from vqjax.data import augmentation, datasets
from vqjax.data.splits import Split
from vqjax.system.errors import InputError

NAMES = ("train", "validation", "test")  # of the splits


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
    """The contract, with what a task does that has nothing to say on a point.

    A task sets `module` and writes `inputs` and `objective`; the defaults do for images without a stage 1, and for a
    Flax module that is called as `module(x, train, progress, keys)`. Metrics of a batch are means over its examples.

    Attributes:
      config: of the run, complete.
      facts: of the data and of stage 1, as run.json has them; `describe` gives those of a new run.
      module: the Flax module.
      stage1: what stage 2 stands on; None in stage 1.
      class_names: in the order of the labels.
      fields: the config's fields outside `model` and `optimizer`.
      clips: whether it takes clips (T, H, W, C) in the place of images.
      headline: the figures of the progress bar.
      curves: the figures that are plotted against the step.
      frozen: what `prepare` needs of stage 1, on the host.
    """

    module: nn.Module
    stage1: Any
    fields: type[Run] = Run
    clips: bool = False
    headline: tuple[str, ...] = ("loss",)
    curves: tuple[str, ...] = ("loss",)

    def __init__(self, config: ConfigDict, facts: Mapping[str, Any], stage1: Any = None):
        """Raises InputError for any field of `config.model` that is wrong, in itself or for the data."""
        self.config, self.facts, self.stage1 = config, facts, stage1
        if len(self.image_shape) > 3 and not self.clips:
            raise InputError(
                f"config.task={config.task!r}: expected images, but those of config.data.name={facts['dataset']!r} are "
                f"clips of {self.image_shape[0]} frames"
            )
        self.augmentation = augmentation.augment_options(config, self.image_shape)

    def check(self, count: int) -> None:
        """Raises InputError if a run of this config on so many images of train can only be of no use."""
        if self.config.batch_size > count:
            raise InputError(
                f"config.batch_size={self.config.batch_size}: expected at most the {count:,} images of train in "
                f"config.data.name={self.config.data.name!r}"
            )

    # What is read

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C), of clips (T, H, W, C)."""
        return tuple(self.facts["image_shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.facts["class_names"])

    def load(self, names: Sequence[str] = NAMES) -> dict[str, Split]:
        """The splits that exist among `names`, cut from what `read` gives.

        Raises InputError if the set cannot be read, or is by now another one than the facts say.
        """
        datasets.check_same_dataset(self.config, self.facts)
        return datasets.load_splits(self.config, names, self.read)

    def read(self, config: ConfigDict, name: str) -> Split:
        """The `image` and `label` of "train" or "test", whole; or what the task takes in their place."""
        return datasets.read_split(config, name)

    def describe(self, splits: Mapping[str, Split]) -> Mapping[str, Any]:
        """The facts of a new run, with what only the data itself and stage 1 can say."""
        found = {**self.facts, "hash": datasets.dataset_hashes(self.config)}
        return {**found, **self.stage1.identity} if self.stage1 else found

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user is told before a run begins, a line each."""
        return ()

    def baselines(self, name: str, split: Split) -> dict[str, np.ndarray]:
        """Figures of a split, and its name, that do not need the model that is trained."""
        return {}

    # What is stepped

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one of the module's inputs."""
        return self.image_shape

    def inputs(self, batch: Mapping) -> jax.Array:
        """What the module is applied to, (B, ...)."""
        raise NotImplementedError

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh variables {"params", collection, ...}; traceable."""
        variables: Any = self.module.init(key, np.zeros((1, *self.input_shape), np.float32), False)
        return variables

    @property
    def abstract_variables(self) -> dict[str, Any]:
        """The names, shapes and dtypes of the variables."""
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))

    @property
    def initialize_label(self) -> str:
        """What `initialise` does, in words for a person; "" if nothing that takes long."""
        return ""

    def initialize(self, variables: dict[str, Any], batches: Iterator[Mapping], seed: int) -> dict[str, Any]:
        """The variables before step 0, of fresh ones and of training batches."""
        return variables

    @property
    def prepares(self) -> tuple[str, ...]:
        """Which batches ("train", "evaluation") are changed between disk and step."""
        return ("train",) if any(self.augmentation.values()) else ()

    @property
    def frozen(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """A batch between disk and step: with a key, augmented by it and the position in the global batch."""
        if key is None:
            return batch
        return {**batch, "image": augmentation.augment(batch["image"], batch["example"], key, **self.augmentation)}

    def apply_train(
        self, variables: Mapping, batch: Mapping, step: jax.Array, key: jax.Array
    ) -> tuple[Any, dict[str, Any]]:
        """The output on a batch in training, and the collections other than params and constants as they are then."""
        collections = [name for name in variables if name not in ("params", "constants")]
        progress = step / self.config.steps
        arguments = self.inputs(batch), True, progress, example_keys(batch, key)
        found: Any = self.module.apply(variables, *arguments, mutable=collections)
        return found

    def loss(self, output: Any, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss () and the metrics of a batch."""
        raise NotImplementedError

    def vectors(self, output: Any) -> Any:
        """What `refresh` needs of a batch's output: a tree of arrays (B, ...)."""
        return ()

    def after_update(
        self, variables: dict[str, Any], vectors: Any, gather: Callable, step: jax.Array, key: jax.Array
    ) -> dict[str, Any]:
        """The variables after an update, the same on every device.

        Args:
          variables: after the update.
          vectors: those of the batch, on this device.
          gather: an array (B, ...) of this device -> that of the global batch.
          step: updates before this one.
          key: of the step, the same on every device.
        """
        return variables

    def apply_eval(self, variables: Mapping, batch: Mapping) -> Any:
        """The output on a batch in evaluation; every example on its own."""
        return self.module.apply(variables, self.inputs(batch), False)

    def eval_metrics(self, output: Any, batch: Mapping) -> dict[str, jax.Array]:
        """The metrics that only an evaluation computes."""
        return {}

    # What is shown

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """What is there to see of a batch, by the name of the picture; `variables` on the host."""
        return {}

    def monitor(self, figures: Mapping[str, float]) -> float:
        """The number by which the best checkpoint is chosen; lower is better."""
        return figures["loss"]

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        """Commands that may come after a finished run; the workdir as a shell takes it."""
        return (f"python -m vqjax evaluate --workdir {workdir}",)

    @property
    def table_columns(self) -> dict[str, Any]:
        """What an ablation's table says of the run."""
        return {"dataset": self.facts["dataset"], "stages": self.config.task}


def example_keys(batch: Mapping, key: jax.Array) -> jax.Array:
    """A key for each example, (B,), by its position in the global batch."""
    return jax.vmap(lambda example: jax.random.fold_in(key, example))(batch["example"])
