"""Priors of one level each: the bottom given the top, drawn one after the other."""

import json

import jax
import numpy as np
import pytest
from conftest import small_autoencoder, small_prior
from helpers import task_of

import vqjax
from vqjax.config.schema import Settings
from vqjax.data.batches import evaluation_batches
from vqjax.data.datasets import open_dataset
from vqjax.inference.scoring import missing_bits
from vqjax.system.errors import InputError
from vqjax.tasks.top_prior import check_top_prior
from vqjax.training import loop


def two_levels(workdir, **fields):
    """A tiny stage 1 of 2 x 2 and 4 x 4 codes, trained."""
    config = small_autoencoder()
    config.model.codec = "hierarchical"
    config.model.hierarchical.top.update(num_codes=8, stages=1)
    config.model.hierarchical.bottom.update(num_codes=12, stages=1)
    config.update({"steps": 2, "eval_every": 2, "save_every": 2, **fields})
    assert loop.train(config, workdir) == 0
    return workdir


def of_level(stage1, level, **fields):
    """A tiny PixelCNN of a level."""
    config = small_prior(stage1)
    config.model.level = level
    config.update({"steps": 2, "eval_every": 2, "save_every": 2, **fields})
    return config


pytestmark = pytest.mark.more


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory with stage 1, the prior of its top, and that of its bottom."""
    runs = tmp_path_factory.mktemp("levels")
    stage1 = two_levels(runs / "stage1")
    assert loop.train(of_level(stage1, "top"), runs / "top") == 0
    assert loop.train(of_level(stage1, "bottom", top_prior=str(runs / "top")), runs / "bottom") == 0
    return runs


def test_the_likelihood_is_that_of_the_top_and_of_the_bottom_given_it(runs):
    top, bottom = vqjax.load(runs / "top"), vqjax.load(runs / "bottom")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    codes = bottom.tokenizer.encode(images)
    assert {name: array.shape for name, array in codes.items()} == {"top": (3, 2, 2), "bottom": (3, 4, 4)}
    nats = bottom.nats_by_place(codes, 4)
    assert {name: grid.shape for name, grid in nats.items()} == {"_top": (3, 2, 2), "_bottom": (3, 4, 4)}
    np.testing.assert_array_equal(nats["_top"], top.nats_by_place({"top": codes["top"]}, 4)["_top"])
    whole = sum(grid.sum((1, 2)) for grid in nats.values())
    np.testing.assert_allclose(bottom.log_prob(codes, 4), -whole, rtol=1e-6)
    other = {**codes, "top": (codes["top"] + 1) % 8}
    assert np.all(bottom.nats_by_place(other, 4)["_bottom"] != nats["_bottom"])  # each is given the top


@pytest.fixture(scope="module")
def below_a_transformer(runs):
    """A prior of the bottom, whose top is drawn by a transformer in any order."""
    top = of_level(runs / "stage1", "top")
    top.model.prior = "transformer"
    top.model.transformer.update(width=16, layers=2, heads=2)
    assert loop.train(top, runs / "transformer") == 0
    config = of_level(runs / "stage1", "bottom", top_prior=str(runs / "transformer"))
    assert loop.train(config, runs / "below") == 0
    return vqjax.load(runs / "below")


@pytest.mark.parametrize("kept", [np.s_[:, :], np.s_[:4, :], np.s_[:6, :], np.s_[:0, :]])
def test_a_transformer_above_completes_its_own_level(below_a_transformer, kept):
    """However many codes of the other level are kept."""
    model, keep = below_a_transformer, np.zeros((8, 8), bool)
    keep[kept] = True
    images = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 1), np.uint8)
    completed, codes = model.complete(images, keep, [1, 2]), model.tokenizer.encode(images)
    for name, size in {"top": 2, "bottom": 4}.items():
        assert completed.codes[name].min() >= 0
        whole = keep.reshape(size, 8 // size, size, 8 // size).all((1, 3))
        np.testing.assert_array_equal(completed.codes[name][:, whole], codes[name][:, whole])


def test_the_order_of_two_levels_is_that_of_raster(below_a_transformer):
    model = below_a_transformer
    codes = model.sample(2, [1], seed=1).codes
    np.testing.assert_array_equal(model.log_prob(codes, 1, order=np.arange(20)), model.log_prob(codes, 1))
    with pytest.raises(InputError, match="order"):
        model.log_prob(codes, 1, order=np.arange(20)[::-1])


def test_bits_of_images_are_those_of_both_levels(runs):
    bottom, top = vqjax.load(runs / "bottom"), vqjax.load(runs / "top")
    stage1 = bottom.tokenizer._task.layout
    assert bottom.scored == stage1 and top.scored != stage1
    assert missing_bits(bottom._task.stage1, top.scored) == "this prior is one of some of the codes alone"
    assert missing_bits(bottom._task.stage1, bottom.scored) != missing_bits(bottom._task.stage1, top.scored)


def test_stage_1_is_read_once(runs):
    bottom = vqjax.load(runs / "bottom")
    assert bottom.above and bottom.above._task.stage1 is bottom._task.stage1


def test_both_are_drawn(runs):
    """The top is what its own prior draws; a sample does not depend on the others, and decodes to its image."""
    top, bottom = vqjax.load(runs / "top"), vqjax.load(runs / "bottom")
    drawn, of_top = bottom.sample(5, [1, 2], seed=3), top.sample(5, [1, 2], seed=3)
    np.testing.assert_array_equal(drawn.codes["top"], of_top.codes["top"])
    assert list(of_top.codes) == ["top"] and of_top.images.shape == drawn.images.shape == (5, 8, 8, 1)
    fewer = bottom.sample(2, [1, 2], seed=3, batch=1)
    np.testing.assert_array_equal(fewer.codes["bottom"], drawn.codes["bottom"][:2])
    np.testing.assert_allclose(bottom.tokenizer.decode(drawn.codes), drawn.images, atol=1e-6)


def test_completion_keeps_codes_of_both_levels(runs):
    bottom = vqjax.load(runs / "bottom")
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 1), np.uint8)
    keep = np.zeros((8, 8), bool)
    keep[:4] = True
    codes, completed = bottom.tokenizer.encode(images), bottom.complete(images, keep, [1, 2], num=2)
    for name, rows in {"top": 1, "bottom": 2}.items():
        np.testing.assert_array_equal(completed.codes[name][:, :rows], codes[name].repeat(2, 0)[:, :rows])
    with pytest.raises(InputError, match="^keep: expected to keep codes from the upper left on"):
        bottom.complete(images, keep[::-1], [1, 2])


def test_figures_are_of_the_own_level(runs):
    for name, grid in {"top": (2, 2), "bottom": (4, 4)}.items():
        figures = json.loads((runs / name / "eval.json").read_text())
        assert np.shape(figures[f"nats_by_position_{name}"]) == grid
        np.testing.assert_allclose(np.mean(figures[f"nats_by_position_{name}"]), figures["nats_per_code"], rtol=1e-4)
        assert "bits_per_dim_of_images" not in figures  # the other level's bits are missing
        bits = figures["nats_per_code"] * np.prod(grid) / np.log(2) / 64
        np.testing.assert_allclose(figures["bits_per_dim_of_codes"], bits, rtol=1e-5)


def test_pictures_of_training_are_given_the_real_top(runs):
    """No other prior is asked."""
    task = task_of(of_level(runs / "stage1", "bottom"))
    variables = jax.jit(task.init)(jax.random.key(0))
    batch = next(evaluation_batches(task.read(open_dataset(task.settings.data), "test")[:4], 4))
    assert task.images(variables, batch)["generated"].images.shape == (4, 8, 8, 1)


@pytest.mark.parametrize(
    "level, top_prior, message",
    [
        ("", "", "config.model.level='': expected one of top, bottom, a pixelcnn models a level given those before it"),
        ("botom", "", "config.model.level='botom' is unknown. Did you mean \"bottom\"?"),
        (
            "top",
            "top",
            "config.top_prior=.*top: expected none, since no level comes before config.model.level='top'",
        ),
        ("", "top", "config.top_prior=.*top: expected none, .* before config.model.level=''; one comes before bottom"),
        ("bottom", "bottom", "config.top_prior=.* is a prior up to level 'bottom', expected up to 'top'"),
        ("bottom", "stage1", "config.top_prior=.* holds a run of task 'autoencoder', expected 'prior'"),
        ("bottom", "nowhere", "config.top_prior=.*nowhere: expected the workdir of a trained prior"),
    ],
)
def test_levels_that_cannot_be_are_refused(runs, tmp_path, level, top_prior, message):
    config = of_level(runs / "stage1", level, top_prior=str(runs / top_prior) if top_prior else "")
    with pytest.raises(InputError, match=message):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_top_that_is_told_the_class_needs_a_bottom_that_is(runs, tmp_path):
    """Else it would be asked for the first class alone."""
    config = of_level(runs / "stage1", "bottom", top_prior=str(runs / "top"))
    config.model.class_conditional = False
    with pytest.raises(InputError, match="config.top_prior=.*top is told the class: expected config.model.class_cond"):
        loop.train(config, tmp_path / "run")
    top = of_level(runs / "stage1", "top")
    top.model.class_conditional = False
    assert loop.train(top, tmp_path / "top") == 0
    config = of_level(runs / "stage1", "bottom", top_prior=str(tmp_path / "top"))
    check_top_prior(Settings.of(config), task_of(config).stage1)


def test_a_top_of_another_stage_1_is_refused(runs, tmp_path):
    other = two_levels(tmp_path / "other", seed=1)
    config = of_level(other, "bottom", top_prior=str(runs / "top"))
    with pytest.raises(InputError, match="config.top_prior=.*top was trained on another stage 1 than .*other"):
        loop.train(config, tmp_path / "run")


def test_a_bottom_without_a_top_scores_and_does_not_draw(runs, tmp_path):
    assert loop.train(of_level(runs / "stage1", "bottom"), tmp_path / "run") == 0
    alone = vqjax.load(tmp_path / "run")
    codes = alone.tokenizer.encode(np.zeros((2, 8, 8, 1), np.uint8))
    assert list(alone.nats_by_place(codes, 0)) == ["_bottom"]
    assert alone._task.next_commands("RUN") == ("python -m vqjax evaluate --workdir RUN",)
    with pytest.raises(InputError, match="this prior draws level 'bottom' given those before it"):
        alone.sample(1)
