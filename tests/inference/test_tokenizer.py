"""Tokenizers, against what the task computes and what the run has measured."""

import jax
import numpy as np
import pytest
from conftest import CODED, more_but
from helpers import dataset_of, task_of
from tiny import vectors_in

import vqjax
from vqjax.data import datasets
from vqjax.runs.devices import PARALLEL, Mapper, Pmap
from vqjax.runs.workdir import Workdir
from vqjax.tasks.stage1 import Stage1

pytest_plugins = "inference_fixtures"


@pytest.fixture(scope="module")
def tokenizer(runs):
    return vqjax.Tokenizer.load(runs / "tokenizer")


@pytest.fixture(scope="module")
def digits(tokenizer):
    """The images (360, 8, 8, 1) and labels that eval.json is about."""
    return datasets.read_split(dataset_of(tokenizer.config), "test").arrays


def test_codes_and_images_are_stage_1s(runs, tokenizer, digits):
    stage1, images = Stage1(runs / "tokenizer"), digits["image"]
    codes = tokenizer.encode(images)
    assert isinstance(codes, np.ndarray) and codes.dtype == np.int32 and codes.shape == (360, 4, 4)
    np.testing.assert_array_equal(codes, stage1.encode(stage1.variables, images))
    decoded = tokenizer.decode(codes.astype(np.uint8))
    assert isinstance(decoded, np.ndarray) and decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, stage1.decode(stage1.variables, codes), atol=1e-6)
    np.testing.assert_array_equal(tokenizer.reconstruct(images), decoded)
    mse = np.mean((decoded - images / 255) ** 2)
    np.testing.assert_allclose(mse, tokenizer.metrics["mse"], rtol=1e-4)


@pytest.mark.parametrize("parallel", more_but("pmap", PARALLEL))
def test_any_number_of_images_by_few_programs(runs, digits, parallel, monkeypatch):
    """On eight devices: batches are multiples of eight, powers of two, and at most 256."""
    tokenizer, sizes = vqjax.Tokenizer.load(runs / "tokenizer"), []
    tokenizer._mapper = Mapper(tokenizer._variables, parallel)
    shard = PARALLEL[parallel].shard
    monkeypatch.setattr(
        PARALLEL[parallel], "shard", lambda self, batch: sizes.append(len(batch["real"])) or shard(self, batch)
    )
    expected = tokenizer.encode(digits["image"])
    assert sizes == [256, 256]
    for count in (1, 2, 3, 9, 17):
        np.testing.assert_array_equal(tokenizer.encode(digits["image"][:count]), expected[:count])
    assert sizes[2:] == [8, 8, 8, 16, 32]
    large = np.zeros((3, 1024, 1024, 1), np.uint8)  # as many as fit 2 ** 18 pixels: one, for each device
    sizes.clear()
    assert tokenizer._map(lambda _, batch: batch["image"].max((1, 2, 3)), 2**20, image=large).shape == (3,)
    assert sizes == [8]


def test_other_sizes_than_in_training(tokenizer):
    assert tokenizer.grid() == (4, 4) and tokenizer.grid(12, 16) == (6, 8) and tokenizer.stride == 2
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 1)).astype(np.uint8)
    codes = tokenizer.encode(images)
    assert codes.shape == (3, 6, 8) and tokenizer.decode(codes).shape == images.shape
    np.testing.assert_array_equal(tokenizer.reconstruct(images), tokenizer.decode(codes))
    # Far from the border a position sees the same whatever lies around: an image in the middle of a larger one.
    wide = np.zeros((1, 64, 64, 1), np.uint8)
    wide[:, 16:48, 16:48] = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 1))
    np.testing.assert_array_equal(
        tokenizer.encode(wide)[:, 14:18, 14:18], tokenizer.encode(wide[:, 16:48, 16:48])[:, 6:10, 6:10]
    )


@pytest.mark.parametrize("quantizer", more_but("fsq", CODED))
def test_the_codebook_is_what_the_decoder_sees(small_config, tmp_path, quantizer):
    small_config.model.quantizer = quantizer
    task = task_of(small_config)
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    tokenizer = vqjax.Tokenizer(tmp_path, task, variables, 0)
    (level,) = tokenizer.layout.levels
    assert tokenizer.num_codes == 16 and tokenizer.codebook.shape == (level.depth,) * (level.depth > 1) + (16, 8)
    codes = np.random.default_rng(0).integers(0, 16, (2, *level.shape))
    z_q = vectors_in(tokenizer.codebook, codes)
    output = task.module.apply(variables, z_q, method=lambda module, z_q: module.decoder(z_q, False))
    np.testing.assert_allclose(tokenizer.decode(codes), task.likelihood.mean(output), atol=1e-5)
    assert tokenizer.metrics == {}


@pytest.mark.more
def test_a_model_without_codes_reconstructs(runs, digits, tmp_path):
    model = vqjax.Tokenizer.load(runs / "none")
    images = model.reconstruct(digits["image"])
    np.testing.assert_allclose(np.mean((images - digits["image"] / 255) ** 2), model.metrics["mse"], rtol=1e-4)
    assert model.num_codes == 0 and model.layout is None
    for use in (
        lambda: model.encode(digits["image"]),
        lambda: model.decode([[[0]]]),
        lambda: model.codebook,
        lambda: model.export_codes(tmp_path / "out"),
        lambda: model.export(tmp_path / "out"),
        lambda: model.explore(),
    ):
        with pytest.raises(ValueError, match="quantizer='none'"):
            use()
    assert not any(tmp_path.iterdir())


def test_the_weights_are_of_the_asked_step(runs):
    expected = {step: vqjax.Tokenizer.load(runs / "tokenizer", step=step) for step in (4, 6)}
    assert vqjax.Tokenizer.load(runs / "tokenizer").step == 6
    workdir = Workdir(runs / "tokenizer")
    for step, tokenizer in expected.items():
        assert tokenizer.step == step and f"step {step}" in repr(tokenizer)
        _, variables = workdir.restore_variables(tokenizer._task.abstract_variables, step)
        jax.tree.map(np.testing.assert_array_equal, tokenizer._variables, variables)
    assert np.any(expected[4].codebook != expected[6].codebook)


CODES = np.zeros((2, 4, 4), int)
WRONG = [
    ("decode", (CODES + 16,), ValueError, "codes from 16 to 16: expected 0 to 15"),
    ("decode", (CODES - 1,), ValueError, "codes from -1 to -1: expected 0 to 15"),
    ("decode", (CODES / 1.0,), TypeError, "codes of dtype float64: expected integers"),
    ("decode", (CODES > 0,), TypeError, "codes of dtype bool: expected integers"),
    ("decode", (CODES[0],), ValueError, r"codes of shape \(4, 4\): expected \(N, h, w\)"),
    ("decode", (CODES[:0],), ValueError, r"codes of shape \(0, 4, 4\): .*, found none"),
    ("encode", (np.zeros((2, 9, 8)),), ValueError, "images of 9 x 8 pixels: expected multiples of the stride 2"),
    ("reconstruct", (np.zeros((2, 8, 7)),), ValueError, "images of 8 x 7 pixels: expected multiples of the stride 2"),
    ("grid", (8, 7), ValueError, "images of 8 x 7 pixels: expected multiples of the stride 2"),
]


@pytest.mark.parametrize("method, arguments, kind, message", WRONG)
def test_wrong_input_is_told_what_was_expected(runs, method, arguments, kind, message, monkeypatch):
    """Before anything is compiled or run."""
    tokenizer = vqjax.Tokenizer.load(runs / "tokenizer")
    monkeypatch.setattr(Pmap, "compile", None)
    with pytest.raises(kind, match=message):
        getattr(tokenizer, method)(*arguments)
