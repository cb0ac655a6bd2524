"""Clips through the autoencoder, from the film to the GIF."""

import json

import jax
import numpy as np
import pytest
from conftest import CODED
from helpers import split_of, task_of
from PIL import Image

import vqjax
from vqjax.data.augmentation import augment
from vqjax.networks.likelihoods import to_signed
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.training import loop
from vqjax.training.evaluation import evaluate


@pytest.fixture
def clips_config(small_config, tmp_path):
    """A tiny stage 1 of a film of 60 frames, in clips of 3."""
    coarse = np.random.default_rng(0).integers(0, 256, (60, 4, 3, 3), np.uint8)
    np.save(tmp_path / "film.npy", coarse.repeat(2, axis=1).repeat(2, axis=2))
    small_config.data.update(name="clips", path=str(tmp_path / "film.npy"), frames=3)
    small_config.batch_size = 8
    return small_config


@pytest.mark.more
@pytest.mark.parametrize("quantizer", CODED)
def test_a_clip_is_its_frames(clips_config, quantizer):
    """Codes, output and figures of clips are those of their frames as images."""
    clips_config.model.quantizer = quantizer
    task = task_of(clips_config)
    (level,) = task.layout.levels
    assert task.input_shape == (3, 8, 6, 3) and level.grid == (3, 4, 3)
    variables = task.init(jax.random.key(0))
    clips = split_of(clips_config, "test").arrays["image"]
    images = clips.reshape(-1, 8, 6, 3)
    task.facts = {**task.facts, "variance": 0.1}
    found, alone = (task.module.apply(variables, to_signed(x), False) for x in (clips, images))
    (codes,), (codes_alone,) = ([level.codes for level in coded.quantized] for coded in (found, alone))
    assert codes.shape == (len(clips), *level.shape) and found.vectors[0].shape == (len(clips), 3, 4, 3, 8)
    np.testing.assert_array_equal(codes.reshape(-1, *level.shape[1:]), codes_alone)
    np.testing.assert_allclose(found.output.reshape(images.shape), alone.output, atol=1e-5)
    of_clips, of_images = (
        {**task.loss(output, {"image": x})[1], **task.eval_metrics(variables, output, {"image": x})}
        for output, x in [(found, clips), (alone, images)]
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), of_clips, of_images)


def test_frames_of_a_clip_are_augmented_alike():
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 6, 6, 1), np.uint8)
    clips = np.broadcast_to(image, (8, 4, 6, 6, 1))
    found = np.asarray(augment(clips, np.arange(8), jax.random.key(0), True, 2))
    assert found.shape == clips.shape and (found == found[:, :1]).all()
    images = np.asarray(augment(clips[:, 0], np.arange(8), jax.random.key(0), True, 2))
    np.testing.assert_array_equal(found[:, 0], images)
    assert len({each.tobytes() for each in images}) > 1


@pytest.mark.slow
def test_a_run_on_a_film(clips_config, classifier_config, tmp_path):
    """Figures, a film of both side by side, codes (N, T, h, w); a prior says that it expects images."""
    from configs import prior

    workdir = tmp_path / "run"
    assert loop.train(clips_config, workdir) == 0
    with Image.open(workdir / "reconstructions.gif") as film:  # two clips for test; a frame is 6 wide, there are two
        assert film.n_frames == 2 * 3 and film.width == 26 * 12
    figures = json.loads((workdir / "eval.json").read_text())
    assert figures["split"] == "test" and 0 < figures["mse"] < 1 and figures["ssim"] < 1
    again = evaluate(Workdir(workdir))[1]
    assert again["mse"] == pytest.approx(figures["mse"], rel=1e-5)

    out = vqjax.load(workdir).export_codes(tmp_path / "codes", "train")
    codes = np.load(out / "train_codes.npy")
    assert codes.shape == (18, 3, 4, 3) and codes.max() < 16
    assert json.loads((out / "meta.json").read_text())["grid"] == [3, 4, 3]

    classifier_config.data.update(clips_config.data)
    with pytest.raises(InputError, match="config.task='classifier': expected images, .*'clips' are clips of 3 frames"):
        task_of(classifier_config)
    second = prior.get_config()
    second.stage1 = str(workdir)
    with pytest.raises(InputError, match="was trained on clips of 3 frames: a second stage expects images"):
        task_of(second)


def test_the_stride_must_divide_frames(clips_config):
    clips_config.data.size = "7x6"
    with pytest.raises(InputError, match="the stride 2 does not divide .*7 x 6 pixels"):
        task_of(clips_config)
