"""What the tests of published weights share: files as their programs write them, and images."""

import os

import numpy as np
import pytest

from vqjax.__main__ import main
from vqjax.system.process import exit_status

torch = pytest.importorskip("torch")

FORMATS = {"zip": True, "legacy": False}  # of torch.save: of now, and before PyTorch 1.6
SIZES = ((64, 64), (48, 80))  # of images
MARGIN = 1e-5  # by which a code must be ahead of the next for that both programs give it
ATOL = 1e-4  # of pixels in [0, 1]


def command(*words):
    """The exit status of `convert`."""
    return exit_status(lambda: main(["convert", *map(str, words)]))


def save(content, path, form="zip"):
    torch.save(content, path, _use_new_zipfile_serialization=FORMATS[form])
    return path


def random_images(height, width, count=3):
    """Noise, ramps and planes, (count, H, W, 3) uint8: their codes differ."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, height)[:, None, None] * np.linspace(0, 1, width)[:, None] * rng.random(3)
    noise = rng.random((height, width, 3)) * (rng.random((height, 1, 1)) > 0.5)
    plane = np.where(np.arange(width)[:, None] < width // 2, rng.random(3), rng.random(3)) * np.ones((height, 1, 1))
    return (255 * np.resize([ramp, noise, plane], (count, height, width, 3))).astype(np.uint8)


class Malicious:
    """Makes a directory when it is unpickled as usual."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)
