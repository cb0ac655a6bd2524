"""Tasks of runs that are only planned: their data set and their stage 1 need not be here."""

import math
from typing import Any, NamedTuple

from vqjax.config.schema import Data, Settings, parse_size
from vqjax.data.datasets import open_dataset
from vqjax.system.errors import InputError
from vqjax.tasks import task_class
from vqjax.tasks.base import Task
from vqjax.tasks.stage1 import Stage1


class ImageFacts(NamedTuple):
    """Facts of a data set.

    Attributes:
      shape: (H, W, C) of an image.
      number: images of train.
      num_classes: 0 without labels.
      file_pixels: of an image file that is decoded, on average; 0: those of `shape`.
    """

    shape: tuple[int, ...]
    number: int
    num_classes: int = 0
    file_pixels: float = 0.0


_IMAGENET_PIXELS = 469 * 387.0  # of its files, on average
# Sets that a plan knows without their images; a shape of 0 x 0 is that of config.data.size.
KNOWN = {
    "mnist": ImageFacts((28, 28, 1), 60_000, 10),
    "fashion_mnist": ImageFacts((28, 28, 1), 60_000, 10),
    "cifar10": ImageFacts((32, 32, 3), 50_000, 10),
    "cifar100": ImageFacts((32, 32, 3), 50_000, 100),
    "svhn_cropped": ImageFacts((32, 32, 3), 73_257, 10),
    "tiny_imagenet": ImageFacts((64, 64, 3), 100_000, 200),
    "food101": ImageFacts((0, 0, 3), 75_750, 101, 512 * 475.0),
    "imagenet2012": ImageFacts((0, 0, 3), 1_281_167, 1_000, _IMAGENET_PIXELS),
    "imagenet_resized": ImageFacts((0, 0, 3), 1_281_167, 1_000),
}


class PlannedRun(NamedTuple):
    """A run that is only planned.

    Attributes:
      task: of the run.
      images: facts of its data set.
      held: whether its images are held in memory or prepared, so that none is decoded during training.
    """

    task: Task
    images: ImageFacts
    held: bool


def planned_run(settings: Settings, images: ImageFacts | None = None, stage1: Settings | None = None) -> PlannedRun:
    """Build the task of a planned run.

    Args:
      settings: of the run.
      images: facts of its data set; None: those of its trained stage 1, of the set, if it is here, or of `KNOWN`.
      stage1: settings of the stage 1 of a second stage, if that is not trained yet.

    Raises:
      InputError: the config is wrong, or nothing is known of the data set.
    """
    build, data, frozen = task_class(settings), settings.data, None
    if "stage1" in build.runs:
        frozen, images = _stage1(settings, images, stage1)
        data = frozen.settings.data
    elif stage1 is not None:
        raise InputError(f"--stage1_config: expected none, since config.task={settings.task!r} has no stage 1")
    images = images or image_facts(data)
    task = build(settings, _run_facts(data, images), frozen)
    held = images.number * math.prod(images.shape) <= settings.data.memory * 2**30 or data.name == "prepared"
    return PlannedRun(task, images, held)


def _stage1(settings: Settings, images: ImageFacts | None, planned: Settings | None) -> tuple[Stage1, ImageFacts]:
    """The stage 1 of a second stage, trained or planned, and the facts of its data set."""
    if planned is not None:
        images = images or image_facts(planned.data)
        return Stage1.planned(planned, "stage1", _run_facts(planned.data, images), "--stage1_config"), images
    try:
        frozen = Stage1(settings.stage1)
    except InputError as error:
        problem = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"{problem}; --stage1_config names the config of one that is not trained yet") from error
    facts = frozen.facts
    if images is None and "train" not in facts["sizes"]:
        raise InputError(
            f"config.stage1={settings.stage1}: imported weights do not say how many images there are; --num_images and "
            "--shape say it"
        )
    return frozen, images or ImageFacts(tuple(facts["image_shape"]), facts["sizes"]["train"], len(facts["class_names"]))


def image_facts(data: Data) -> ImageFacts:
    """Facts of the data set of `config.data`, if it is here or known. Raises InputError if neither."""
    known, size = KNOWN.get(data.name), parse_size(data.size, "config.data.size")
    try:
        dataset = open_dataset(data)
    except InputError as error:
        if known is None or not (size or all(known.shape)):
            problem = str(error).partition("\n")[0].rstrip(".")
            raise InputError(f"{problem}; --num_images and --shape say what a set has that is not here") from error
        return known._replace(shape=(*(size or known.shape[:2]), data.channels or known.shape[2]))
    file_pixels = known.file_pixels if known else 0.0
    return ImageFacts(dataset.shape, dataset.sizes["train"], len(dataset.class_names), file_pixels)


def _run_facts(data: Data, images: ImageFacts) -> dict[str, Any]:
    """Facts of a data set that need not be here, as run.json has them."""
    names = tuple(map(str, range(images.num_classes)))
    return {"dataset": data.name, "image_shape": images.shape, "class_names": names, "variance": 1.0}
