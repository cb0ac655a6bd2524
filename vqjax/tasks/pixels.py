"""Bits of 8-bit pixels given their codes, for autoencoders whose loss is no distribution of them.

The decoder's mean gets a distribution around it after training, see `vqjax.networks.discretized`. It is kept in
likelihood.json of the workdir: {"step", "distribution", "scale"}.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.data.splits import Split
from vqjax.networks.discretized import PixelDistribution, power_of_error, scale_of
from vqjax.runs.devices import Mapper, images_at_a_time
from vqjax.system.files import read_json, write_json
from vqjax.tasks.autoencoder import AutoencoderTask

FITTED_IMAGES = 10_000  # at most, of train, evenly spaced
_FILE = "likelihood.json"


def needs_distribution(task: Any) -> TypeGuard[AutoencoderTask]:
    """Return whether pixels have bits only by a distribution that is fitted: with codes, and a loss that is none."""
    return isinstance(task, AutoencoderTask) and task.layout is not None and not task.likelihood.bits_per_dim


def read_distribution(workdir: Path, step: int) -> PixelDistribution | None:
    """Return the distribution that was fitted to a step of the run in a workdir; None if there is none."""
    try:
        content = read_json(workdir / _FILE)
        if content["step"] != step:
            return None
        return PixelDistribution(content["distribution"], tuple(content["scale"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_distribution(workdir: Path, step: int, distribution: PixelDistribution) -> None:
    """Write likelihood.json of a step."""
    content = {"step": step, "distribution": distribution.name, "scale": list(distribution.scale)}
    write_json(workdir / _FILE, content)


class PixelBits:
    """Bits per pixel and channel of images given their codes."""

    def __init__(self, task: AutoencoderTask, variables: Mapping[str, Any]):
        self._task, self._mapper = task, Mapper(variables, task.settings.parallel)
        self._name: str = task.likelihood.distribution

    def fit(self, train: Split) -> PixelDistribution:
        """Fit the scale of each channel to images of train."""
        some = train[:: -(-len(train) // FITTED_IMAGES)]  # a slice of streamed images is not decoded at once
        power, _ = self._measure(some, (1.0,) * self._task.image_shape[-1], "errors of pixels")
        return PixelDistribution(self._name, scale_of(self._name, power.mean(0, dtype=np.float64)))

    def measure(self, split: Split, distribution: PixelDistribution | None = None) -> float:
        """Return the mean bits of a split's images, by the likelihood of the task or a distribution that is fitted."""
        return float(self.of_images(split, distribution).mean(dtype=np.float64))

    def of_images(self, split: Split, distribution: PixelDistribution | None = None) -> np.ndarray:
        """Return the bits of each of a split's images, (N,); see `measure`."""
        return self._measure(split, distribution.scale if distribution else (), "bits of pixels")[1]

    def _measure(self, split: Split, scale: tuple[float, ...], title: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what the scale is fitted to, (N, C), and the bits at a scale, (N,)."""
        scales = np.tile(np.asarray(scale, np.float32), (len(split), 1))  # in the batch: one program for all scales
        images, size = Split(image=split.arrays["image"], scale=scales), images_at_a_time(self._task.image_shape)
        power, bits = self._mapper(self._of_batch, images, size, title)
        return power, bits

    @functools.cached_property
    def _of_batch(self) -> Callable:
        likelihood = self._task.likelihood

        def of_one(variables: Mapping, example: Mapping) -> tuple[jax.Array, jax.Array]:
            image = example["image"]
            output = self._task.apply_eval(variables, {"image": image[None]}).output[0]
            if likelihood.bits_per_dim:
                return jnp.zeros(()), likelihood.bits_per_dim(output, image)
            mean, distribution = likelihood.mean(output), PixelDistribution(self._name, example["scale"])
            return power_of_error(self._name, mean, image), distribution.bits_per_dim(mean, image)

        return jax.vmap(of_one, (None, 0))
