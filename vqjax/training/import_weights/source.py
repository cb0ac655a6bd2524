"""The contract of sources: weights that another program has published, as a run of vqjax."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.config import loading
from vqjax.config.schema import Data, parse_size
from vqjax.data import datasets
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.training.import_weights.state_dict import StateDict


class Source:
    """Published weights.

    Attributes:
      files: content of each file, in words.
    """

    files: tuple[str, ...] = ("the weights",)

    def __init__(self, states: Sequence[StateDict], **options: str):
        """Take the tensors of the files, in their order. Raises InputError if they are of another program."""

    def config(self) -> ConfigDict:
        """Config of a run that had made the weights, as far as the files tell."""
        raise NotImplementedError

    def facts(self, data: Data) -> Mapping[str, Any]:
        """Facts of the images for run.json, as `datasets.dataset_facts` has them."""
        raise NotImplementedError

    def variables(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        """Variables of the model, of the names and shapes that are expected.

        Raises InputError if a tensor is missing or has another shape.
        """
        raise NotImplementedError


class OwnImages(Source):
    """Weights for images of the user's own, as those that they were trained on are not here.

    Attributes:
      size: of the images, "HxW" or one number.
      data_path: the folder of images; "" if it is not known yet.
    """

    def __init__(self, size: str, data_path: str, stride: int):
        """Raises InputError if the stride does not divide the size."""
        self.size, self.data_path = size, data_path and str(absolute_path(data_path, "--data_path"))
        shape = parse_size(size, "--size")
        if shape is None or shape[0] % stride or shape[1] % stride:
            raise InputError(f"--size={size}: expected a number of pixels, or HxW, that the stride {stride} divides")
        self._image_shape = (*shape, 3)

    def facts(self, data: Data) -> Mapping[str, Any]:
        """Facts of the folder; without one, of images of the size, without classes."""
        if self.data_path:
            return datasets.dataset_facts(datasets.open_dataset(data))
        return {"dataset": "folder", "image_shape": self._image_shape, "class_names": (), "sizes": {}}

    def base_config(self) -> ConfigDict:
        """Base config, for the images."""
        config = loading.load_config(*loading.find_config("autoencoder"))
        config.data.update({"name": "folder", "path": self.data_path, "size": self.size, "channels": 3})
        return config


def uniform_frequency(num_codes: int) -> dict[str, Any]:
    """Collection of a codebook whose codes are all used alike."""
    return {"quantizer": {"frequency": np.full(num_codes, 1 / num_codes, np.float32)}}
