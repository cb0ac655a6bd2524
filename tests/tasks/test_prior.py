"""The task on the codes of a frozen stage 1."""

import functools
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_autoencoder, small_prior
from helpers import (
    assert_close,
    assert_same,
    dataset_of,
    lines_of,
    run,
    saved,
    session_of,
    split_of,
    stop_after,
    task_of,
)

import vqjax
from vqjax.codes.layout import single_level
from vqjax.data.augmentation import augment
from vqjax.data.batches import batches, evaluation_batches
from vqjax.data.splits import Split
from vqjax.networks.priors import PRIORS
from vqjax.ops import axes
from vqjax.runs.checkpoints import pins
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.prior import order0_metrics
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.evaluation import evaluate


def test_the_likelihood_by_hand(prior_config):
    """Two codes, probabilities 1/2 and 1/8: (ln 2 + ln 8) / 2 nats per code, over 8 x 8 pixels."""
    task = task_of(prior_config)
    length = task.layout.length
    task.layout = task.modeled = single_level((1, 2), 16)
    logits = np.full((1, 2, 16), -np.inf, np.float32)
    logits[0, 0, [3, 4]] = 5.0
    logits[0, 1, :8] = -1.0
    batch = {"codes": np.array([[[3, 7]]], np.uint8)}
    loss, metrics = task.loss(jnp.asarray(logits), batch)
    nats = (np.log(2) + np.log(8)) / 2
    np.testing.assert_allclose([loss, metrics["nats_per_code"]], nats, rtol=1e-6)
    np.testing.assert_allclose(metrics["bits_per_dim_of_codes"], nats / np.log(2) * length / 64, rtol=1e-6)
    np.testing.assert_allclose(
        task.eval_metrics({}, jnp.asarray(logits), batch)["nats_by_position"], [[np.log(2), np.log(8)]]
    )


@pytest.mark.slow
def test_what_an_image_costs_is_its_codes_and_its_pixels_given_them(tmp_path):
    """Where the likelihood of stage 1 is a distribution of 8-bit pixels; the latter is what stage 1 itself reports."""
    config = small_autoencoder()
    config.model.likelihood = "logit_laplace"
    config.steps = 1
    assert loop.train(config, tmp_path / "proper") == 0
    config = small_prior(tmp_path / "proper")
    config.data.validation = 0.0
    config.steps = 1
    assert loop.train(config, tmp_path / "prior") == 0
    first, figures = (json.loads((tmp_path / name / "eval.json").read_text()) for name in ("proper", "prior"))
    codes, pixels = figures["bits_per_dim_of_codes"], figures["bits_per_dim_given_codes"]
    np.testing.assert_allclose(pixels, first["bits_per_dim_given_codes"], rtol=1e-5)
    assert figures["bits_per_dim_of_images"] == codes + pixels


def test_order_0_entropies_by_hand():
    """Six positions, all 0 but one that is 0 or 5 with equal chances: 5 is one code in twelve."""
    codes = np.zeros((4, 2, 3), np.uint8)
    codes[::2, 1, 0] = 5
    found = order0_metrics(single_level((2, 3), 16), Split(codes=codes))
    common, rare = -np.log(11 / 12), np.log(12)
    np.testing.assert_allclose(found["order0_nats_by_position"], [[common] * 3, [(common + rare) / 2, common, common]])
    np.testing.assert_allclose(found["order0_nats_per_code"], (11 * common + rare) / 12)


def test_a_run_writes_what_describes_it(prior_config, stage1, tmp_path):
    assert loop.train(prior_config, tmp_path / "prior") == 0
    workdir = tmp_path / "prior"
    names = {path.name for path in workdir.iterdir()}
    assert {"generated.png", "decoded.png", "positions.png", "curves.png", "eval.json", "config.json"} <= names
    facts, frozen = json.loads((workdir / "run.json").read_text()), Stage1(stage1)
    assert facts["stage1"] == frozen.fingerprint and facts["class_names"] == list("0123456789")
    assert facts["image_shape"] == [8, 8, 1] and facts["dataset"] == "digits"
    config = json.loads((workdir / "config.json").read_text())
    assert config["data"]["name"] == "digits" and config["stage1"] == str(stage1)

    figures = json.loads((workdir / "eval.json").read_text())
    validation = {
        line["step"]: line["nats_per_code"]
        for line in lines_of(workdir / "metrics.jsonl")
        if line["split"] == "validation"
    }
    assert figures["split"] == "test" and figures["step"] == min(validation, key=validation.get)
    codes = frozen.read(dataset_of(prior_config), "test").arrays["codes"]
    p = np.bincount(codes.reshape(-1)) / codes.size
    np.testing.assert_allclose(figures["order0_nats_per_code"], -(p[p > 0] * np.log(p[p > 0])).sum(), rtol=1e-6)
    np.testing.assert_allclose(figures["perplexity"], np.exp(figures["nats_per_code"]), rtol=1e-6)
    for name in ("nats_by_position", "order0_nats_by_position"):
        assert np.shape(figures[name]) == frozen.layout.single.grid
    np.testing.assert_allclose(np.mean(figures["nats_by_position"]), figures["nats_per_code"], rtol=1e-4)
    np.testing.assert_allclose(np.mean(figures["order0_nats_by_position"]), figures["order0_nats_per_code"], rtol=1e-4)

    (workdir / "eval.json").unlink()
    again = evaluate(Workdir(workdir))[1]
    assert again == pytest.approx({name: figures[name] for name in again}, rel=1e-5)


@pytest.mark.more
def test_the_average_of_the_weights_by_hand(prior_config):
    """The average moves by 1 - min(decay, (1 + t) / (10 + t)) towards the weights, and is what evaluation applies."""
    prior_config.model.ema_decay = 0.15
    task = task_of(prior_config)
    weights = lambda x: {"w": np.float32(x)}  # noqa: E731
    variables = {"params": weights(2.0), "average": weights(1.0)}
    for step, decay in ((0, 0.1), (1, 0.15), (50, 0.15)):
        after = task.after_update(variables, None, None, step, None)
        np.testing.assert_allclose(after["average"]["w"], 2 - decay, rtol=1e-6)
        assert after["params"]["w"] == 2
    assert task.weights(variables) == {"params": weights(1.0)}

    prior_config.model.ema_decay = 0.0
    task = task_of(prior_config)
    assert set(task.init(jax.random.key(0))) == {"params"}
    assert task.weights({"params": weights(2.0)}) == {"params": weights(2.0)}


@pytest.mark.more
def test_the_average_of_the_weights_is_what_is_evaluated_and_sampled_from(prior_config):
    task = task_of(prior_config)
    one, two = (task.init(jax.random.key(seed))["params"] for seed in (0, 1))
    one, two = (jax.tree.map(lambda x: 3 * x, params) for params in (one, two))
    batch = next(evaluation_batches(split_of(prior_config, "test")[:16], 16))
    for use in (task.apply_eval, functools.partial(task.sample, seed=0)):
        found = use({"params": one, "average": two}, batch)
        np.testing.assert_array_equal(found, use({"params": two}, batch))
        assert np.any(found != use({"params": one}, batch))


@pytest.mark.more
@pytest.mark.parametrize(
    "parallel, augmented",
    [
        pytest.param("pmap", False, marks=pytest.mark.slow),
        ("pmap", True),
        pytest.param("shard_map", True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", PRIORS)
def test_eight_devices_are_one(prior_config, name, parallel, augmented):
    """Dropout, averaged weights and codes made on the fly included."""
    prior_config.model.prior = name
    prior_config.model[name].dropout = 0.5
    prior_config.data.update({"flip": augmented, "crop": int(augmented)})
    _, eight, history = run(prior_config, parallel, devices=8, steps=4)
    _, one, history_of_one = run(prior_config, devices=1, steps=4)
    assert_close((eight.params, eight.extra), (one.params, one.extra), 1e-5)
    for a, b in zip(history, history_of_one):
        assert_close(a, b, 1e-5)


def test_codes_on_the_fly_are_those_of_the_augmented_images(prior_config):
    prior_config.data.update({"flip": True, "crop": 1})
    task = task_of(prior_config)
    batch = next(batches(split_of(prior_config, "train"), 16, 0, True))
    key = jax.random.key(3)
    prepared = task.prepare(batch, key, task.frozen)
    images = augment(batch["image"], batch["example"], key, True, 1)
    np.testing.assert_array_equal(prepared["codes"], task.stage1.encode(task.stage1.variables, images))
    assert np.any(prepared["codes"] != batch["codes"])
    # Without augmentation they are those of the images themselves, and stage 1 is not needed for a step.
    prior_config.data.update({"flip": False, "crop": 0})
    task = task_of(prior_config)
    kept = next(batches(split_of(prior_config, "train"), 16, 0, True))
    np.testing.assert_array_equal(kept["codes"], batch["codes"])
    assert task.frozen == {} and set(kept) == {"codes", "label", "example"}


def test_neither_state_nor_step_holds_stage_1(prior_config):
    prior_config.data.flip = True
    session = session_of(prior_config)
    state, task = session.abstract_state, session.task
    codes = np.zeros((4, *task.layout.single.shape), np.int32)
    batch = {"codes": codes, "label": np.zeros(4, np.int32), "example": np.arange(4)}
    step = jax.make_jaxpr(session.step, axis_env=[(axes.BATCH, 1)])(state, batch)
    assert sum(map(np.size, step.consts)) < 100 < sum(map(np.size, jax.tree.leaves(task.stage1.variables)))
    assert set(state.extra) == {"average"}
    assert jax.tree.structure(state.extra["average"]) == jax.tree.structure(state.params)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical(prior_config, tmp_path):
    prior_config.model.pixelcnn.dropout = 0.5
    prior_config.data.crop = 1
    assert loop.train(prior_config, tmp_path / "whole") == 0
    assert loop.train(prior_config, tmp_path / "cut", on_step=stop_after(3)) == 143
    assert loop.train(prior_config, tmp_path / "cut") == 0
    assert_same(saved(tmp_path / "whole"), saved(tmp_path / "cut"))
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == (tmp_path / "cut" / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_what_a_prior_stands_on_is_kept_while_stage_1_is_trained_on(prior_config, small_config, stage1, tmp_path):
    """Also by a stage 1 that has been stopped on its way; with the checkpoint gone, it is called retrained."""
    prior_config.steps = 2
    assert loop.train(prior_config, tmp_path / "prior") == 0
    pinned, dataset = Stage1(stage1), dataset_of(prior_config)
    assert pins.pinned(stage1 / "pins") == {pinned.fingerprint: 6}
    codes = pinned.read(dataset, "test").arrays["codes"]
    small_config.update({"steps": 16, "eval_every": 16, "save_every": 2})
    assert loop.train(small_config, stage1, on_step=stop_after(13)) == 143
    with Workdir(stage1).checkpoints() as checkpoints:
        assert checkpoints.steps == [13, 12, 6]
    with pytest.raises(InputError, match="has 13 of its 16 steps"):
        Stage1(stage1)
    prior_config.steps = 4
    assert loop.train(prior_config, tmp_path / "prior") == 0
    assert loop.train(small_config, stage1) == 0

    task = vqjax.load(tmp_path / "prior")._task
    assert (task.stage1.step, task.stage1.fingerprint) == (6, pinned.fingerprint)
    jax.tree.map(np.testing.assert_array_equal, task.stage1.variables, pinned.variables)
    assert Stage1(stage1).step == 16
    Stage1(stage1).read(dataset, "test")  # the kept codes are now those of step 16
    np.testing.assert_array_equal(task.stage1.read(dataset, "test").arrays["codes"], codes)

    shutil.rmtree(stage1 / "checkpoints" / "6")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    prior_config.steps = 6
    for use in (
        lambda path: evaluate(Workdir(path)),
        vqjax.load,
        lambda path: loop.train(prior_config, path),
    ):
        with pytest.raises(InputError, match="has been retrained since this run was .* of the steps 14, 16, has"):
            use(tmp_path / "prior")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_another_stage_1_is_not_called_retrained(prior_config, small_config, stage1, tmp_path):
    prior_config.steps = 2
    assert loop.train(prior_config, tmp_path / "prior") == 0
    small_config.update({"seed": 1, "steps": 2})
    assert loop.train(small_config, tmp_path / "other") == 0
    with pytest.raises(InputError, match="--stage1=.*other is another run than the one that this run was trained on"):
        vqjax.load(tmp_path / "prior", stage1=tmp_path / "other")


@pytest.mark.more
def test_a_stage_1_that_cannot_be_written_to_is_not_pinned(prior_config, stage1, tmp_path, capsys):
    (stage1 / "pins").write_text("a file where the directory should be: the tests may run as root")
    prior_config.steps = 2
    assert loop.train(prior_config, tmp_path / "prior") == 0
    assert "step 6 is not pinned in" in capsys.readouterr().out
    assert vqjax.load(tmp_path / "prior").tokenizer.step == 6


@pytest.mark.slow
def test_a_stage_1_that_has_moved_is_found_by_its_new_path(prior_config, stage1, tmp_path):
    prior_config.steps = 2
    assert loop.train(prior_config, tmp_path / "prior") == 0
    os.rename(stage1, tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no such directory"):
        loop.train(prior_config, tmp_path / "prior")
    with pytest.raises(InputError, match="stage 1 is no longer in .*: name the place with --stage1"):
        evaluate(Workdir(tmp_path / "prior"))
    evaluate(Workdir(tmp_path / "prior"), stage1=tmp_path / "elsewhere")
    with pytest.raises(InputError, match="--stage1=.*elsewhere: .* holds a run of task 'autoencoder', which has none"):
        evaluate(Workdir(tmp_path / "elsewhere"), stage1=tmp_path / "elsewhere")
    prior_config.stage1 = str(tmp_path / "elsewhere")
    assert loop.train(prior_config, tmp_path / "prior") == 0  # it is finished, and now knows the place
    evaluate(Workdir(tmp_path / "prior"))
    prior_config.steps = 4
    assert loop.train(prior_config, tmp_path / "prior") == 0


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("data.name", "mnist", "config.data.name='mnist', but config.stage1=.* was trained on 'digits'"),
        ("model.prior", "pixelcn", "config.model.prior='pixelcn' is unknown. Did you mean \"pixelcnn\"?"),
        ("model.ema_decay", 1.0, "config.model.ema_decay=1.0: expected at least 0 and at most 0.999999"),
        ("model.pixelcnn.layers", 0, "config.model.pixelcnn.layers=0: expected at least 1"),
        ("model.pixelcnn.dropout", 1.0, "config.model.pixelcnn.dropout=1.0"),
        ("stage1", "nowhere", "config.stage1=nowhere: expected the workdir of a trained autoencoder"),
        ("data.crop", 8, "config.data.crop=8: expected less than the image's 8"),
    ],
)
def test_bad_input_is_refused(prior_config, tmp_path, field, value, message):
    prior_config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message):
        loop.train(prior_config, tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


@pytest.mark.more
def test_pictures_show_the_same_classes_side_by_side(prior_config):
    task = task_of(prior_config)
    test = split_of(prior_config, "test")
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    batch = next(evaluation_batches(test[:10], 10))
    pictures = {name: shown.images for name, shown in task.images(variables, batch).items()}
    expected = task.stage1.decode(task.stage1.variables, batch["codes"].astype(np.int32))
    np.testing.assert_allclose(pictures["decoded"], expected, atol=1e-6)
    assert pictures["generated"].shape == expected.shape == (10, 8, 8, 1)
    others = task.images(variables, {**batch, "label": 9 - batch["label"]})
    assert np.any(pictures["generated"] != others["generated"].images)
