"""Figures that are measured once, at a run's end or by `evaluate`: bits of pixels, and nats by the number of steps."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from helpers import dataset_of, task_of

from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.data.streaming import LazyImages
from vqjax.runs.workdir import Workdir
from vqjax.tasks import pixels
from vqjax.tasks.pixels import PixelBits
from vqjax.tasks.stage1 import Stage1
from vqjax.training.evaluation import evaluate
from vqjax.training.final_figures import step_numbers


@pytest.mark.parametrize("likelihood", ["mse", pytest.param("l1", marks=pytest.mark.more)])
def test_the_scale_of_pixels_is_that_of_the_errors(small_config, likelihood):
    """sigma^2 is the mean squared error of the channel, b the mean |error|; the bits are those of the distribution."""
    small_config.model.likelihood = likelihood
    task = task_of(small_config)
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    split = datasets.load_splits(dataset_of(small_config), ("train",))["train"][:24]
    bits = PixelBits(task, variables)
    found = bits.fit(split)
    mean = np.asarray(task.likelihood.mean(task.apply_eval(variables, {"image": split.arrays["image"]}).output))
    error = np.abs(split.arrays["image"] / 255.0 - mean).reshape(-1, 1)
    expected = np.sqrt((error**2).mean(0)) if likelihood == "mse" else error.mean(0)
    np.testing.assert_allclose(found.scale, expected, rtol=1e-4)
    of_images = bits.of_images(split, found)
    expected = [float(found.bits_per_dim(*pair)) for pair in zip(mean[:3], split.arrays["image"])]
    np.testing.assert_allclose(of_images[:3], expected, rtol=1e-3)
    np.testing.assert_allclose(bits.measure(split, found), of_images.mean(), rtol=1e-6)


def test_the_scale_of_streamed_images_is_fitted_batch_by_batch(small_config, monkeypatch):
    """Of evenly spaced ones, never all in memory at once; the same as of images in memory."""
    monkeypatch.setattr(pixels, "FITTED_IMAGES", 20)
    monkeypatch.setattr(pixels, "images_at_a_time", lambda shape: 8)
    images = datasets.load_splits(dataset_of(small_config), ("train",))["train"].arrays["image"][:40]
    decoded = []
    source = SimpleNamespace(shape=images.shape[1:], decode=lambda row, _: decoded.append(row) or images[row])
    streamed = LazyImages(source, np.arange(40))
    taken, take = [], LazyImages.take
    monkeypatch.setattr(LazyImages, "take", lambda self, rows: taken.append(len(rows)) or take(self, rows))
    task = task_of(small_config)
    bits = PixelBits(task, jax.device_get(jax.jit(task.init)(jax.random.key(0))))
    found = bits.fit(Split(image=streamed))
    assert sorted({*decoded}) == list(range(0, 40, 2)) and max(taken) == 8
    np.testing.assert_allclose(found.scale, bits.fit(Split(image=images)).scale, rtol=1e-6)


def test_likelihood_json_is_made_again_and_is_no_part_of_the_model(stage1):
    """A finished run that has none gets the same one, with the same figures, and keeps its fingerprint."""
    path, fingerprint = stage1 / "likelihood.json", Stage1(stage1).fingerprint
    before, figures = json.loads(path.read_text()), json.loads((stage1 / "eval.json").read_text())
    path.unlink()
    assert Stage1(stage1).fingerprint == fingerprint
    _, again = evaluate(Workdir(stage1))
    after = json.loads(path.read_text())
    assert {**after, "scale": None} == {**before, "scale": None}
    np.testing.assert_allclose(after["scale"], before["scale"], rtol=1e-6)
    assert again["bits_per_dim_given_codes"] == pytest.approx(figures["bits_per_dim_given_codes"], rel=1e-5)
    assert Stage1(stage1).fingerprint == fingerprint and Stage1(stage1).step == before["step"]


@pytest.mark.parametrize(
    "length, expected", [(64, [64, 32, 16, 8, 4]), (49, [49, 24, 12, 8, 4]), (9, [9, 8, 4, 2]), (2, [2, 1])]
)
def test_steps_of_the_curve(length, expected):
    assert step_numbers(length) == expected
