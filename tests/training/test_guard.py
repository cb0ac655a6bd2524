"""Steps, runs and weights that are not finite."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import slow_but
from helpers import assert_same, run, saved, session_of, stop_after

import vqjax
from vqjax.__main__ import main
from vqjax.runs import finite
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.process import exit_status
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop, optimizers
from vqjax.training.evaluation import evaluate


def spoiling(steps, value, where=...):
    """A function that spoils the images of such steps, and makes all float32, in one program for all."""

    def change(step, batch):
        images = batch["image"].astype(np.float32)
        if step in steps:
            images[where] = value
        return {**batch, "image": images}

    return change


PIXEL = (0, 3, 3, 0)  # of an image that only the first of eight devices has


@pytest.mark.parametrize(
    "parallel, value, where",
    [
        ("pmap", np.nan, PIXEL),
        pytest.param("shard_map", np.inf, PIXEL, marks=pytest.mark.slow),
        pytest.param("pmap", np.nan, ..., marks=pytest.mark.more),
    ],
)
def test_a_step_that_is_not_finite_changes_nothing(small_config, parallel, value, where):
    """Params, moments, EMA codebook and batch statistics are those before it, on every device."""
    small_config.model.deepmind.batch_norm = True
    small_config.model.ema.update({"dead_code_threshold": 0.9, "decay": 0.7})
    _, before, _ = run(small_config, parallel, steps=3, change=spoiling((), 0))
    replicas, after, history = run(small_config, parallel, steps=4, change=spoiling((3,), value, where))
    assert [bool(metrics["skipped"]) for metrics in history] == [False, False, False, True]
    assert (after.step, after.skipped, after.consecutive_skips) == (4, 1, 1)
    assert_same(
        after._replace(step=before.step, skipped=before.skipped, consecutive_skips=before.consecutive_skips), before
    )
    for leaf in jax.tree.leaves(replicas):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 8 and all(np.array_equal(copy, copies[0]) for copy in copies)


@pytest.mark.more
def test_a_state_that_is_not_finite_is_not_kept(small_config, monkeypatch):
    """Where loss and gradients are; nor one whose squares are not."""
    refresh, spoils = AutoencoderTask.after_update, [("params", np.inf), ("codebook", np.nan), ("params", 1e25)]

    def spoiled(task, variables, vectors, gather, step, key):
        refreshed = refresh(task, variables, vectors, gather, step, key)
        for at, (collection, value) in enumerate(spoils, 1):
            ruined = jax.tree.map(lambda x, at=at, value=value: jnp.where(step == at, value, x), refreshed[collection])
            refreshed = {**refreshed, collection: ruined}
        return refreshed

    monkeypatch.setattr(AutoencoderTask, "after_update", spoiled)
    _, state, history = run(small_config, devices=1, steps=5)
    assert [bool(metrics["skipped"]) for metrics in history] == [False, True, True, True, False]
    assert (state.step, state.skipped) == (5, 3) and finite.all_finite(state)
    assert all(np.isfinite(metrics["loss"]) and np.isfinite(metrics["gradient_norm"]) for metrics in history)


@pytest.mark.parametrize("shapes", [[(3, 4), (), (5,)], [(2**16,), (7,), (3, 2**16)], [(2**17,)], []])
def test_the_norm_is_that_of_all_numbers(shapes):
    """Large arrays count and small ones, which are summed together; any number that is not finite is seen."""
    rng = np.random.default_rng(0)
    tree = {str(i): jnp.float32(rng.normal(size=shape)) for i, shape in enumerate(shapes)} | {"count": jnp.int32(9)}
    expected = np.sqrt(sum(np.sum(np.float64(tree[str(i)]) ** 2) for i in range(len(shapes))))
    np.testing.assert_allclose(finite.global_norm(tree), expected, rtol=1e-6)
    assert finite.finite_norm(tree)
    for i in range(len(shapes)):
        for value in (np.nan, np.inf, -np.inf):
            assert not finite.finite_norm(tree | {str(i): tree[str(i)].ravel().at[-1].set(value)})


@pytest.mark.more
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_what_an_optimizer_keeps_is_finite_where_the_norm_is(small_config, name):
    """With the largest gradients of which that is so: the guard does not look at it."""
    small_config.optimizer.name = name
    small_config.optimizer.clip_norm = 0.0
    optimizer = session_of(small_config).optimizer
    params = {"kernel": jnp.ones(2)}
    gradients, state = {"kernel": jnp.array([1.8e19, 0.0])}, optimizer.init(params)
    assert finite.finite_norm(gradients) and not finite.finite_norm({"kernel": jnp.array([1.9e19, 0.0])})
    for _ in range(50):
        _, state = optimizer.update(gradients, state, params)
    assert finite.all_finite(state)


@pytest.mark.more
def test_five_in_a_row_are_not_forgotten(small_config):
    """Though good ones follow before anybody looks."""
    bad = range(1, 1 + finite.MAX_SKIPPED_IN_A_ROW)
    _, state, _ = run(small_config, devices=1, steps=8, change=spoiling(bad, np.nan))
    assert state.skipped == 5 and state.consecutive_skips >= finite.MAX_SKIPPED_IN_A_ROW
    _, state, _ = run(small_config, devices=1, steps=8, change=spoiling({*bad} - {3}, np.nan))
    assert (state.step, state.skipped, state.consecutive_skips) == (8, 4, 0)


@pytest.fixture
def spoil(monkeypatch):
    """Makes the loss of some steps, counted from 0, NaN."""

    def spoil(*steps):
        apply = AutoencoderTask.apply

        def spoiled(task, variables, batch, train, progress=1.0, keys=None):
            output, extra = apply(task, variables, batch, train, progress, keys)
            if train:
                step = jnp.round(progress * task.settings.steps).astype(int)
                (level,) = output.quantized
                loss = jnp.where(jnp.isin(step, jnp.array(steps)), jnp.nan, level.loss)
                output = output._replace(quantized=(level._replace(loss=loss),))
            return output, extra

        monkeypatch.setattr(AutoencoderTask, "apply", spoiled)

    return spoil


def strictly(path):
    """The lines of a JSON file in which there is no NaN, which is no JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {path}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_skips_are_logged_and_counted_and_survive_a_stop(small_config, spoil, tmp_path, capsys):
    small_config.log_every = 3
    spoil(1, 2)
    assert loop.train(small_config, tmp_path / "whole") == 0
    first, second = [line for line in strictly(tmp_path / "whole" / "metrics.jsonl") if line["split"] == "train"]
    assert first["skipped"] == 2 and "skipped" not in second and np.isfinite(first["loss"])
    assert "step 3: 2 of the latest steps were not finite" in capsys.readouterr().out
    assert loop.train(small_config, tmp_path / "cut", on_step=stop_after(2)) == 143
    state = json.loads((tmp_path / "cut" / "checkpoints" / "2" / "record" / "metadata").read_text())
    assert (state["skipped"], state["consecutive_skips"]) == (1, 1)
    assert loop.train(small_config, tmp_path / "cut") == 0
    assert_same(saved(tmp_path / "cut"), saved(tmp_path / "whole"))
    for name in ("metrics.jsonl", "checkpoints/6/record/metadata"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
def test_five_in_a_row_end_the_run(small_config, spoil, tmp_path, capsys):
    """Steps from the fourth on are not finite: the run ends at the line of step 12, and what was saved before stays."""
    small_config.update({"steps": 20, "log_every": 6, "eval_every": 4, "save_every": 1})
    spoil(*range(3, 20))
    for _ in range(2):  # the same command comes to the same end
        assert loop.train(small_config, tmp_path) == 3
        error = capsys.readouterr().err.strip()
        assert "from step 4 on, 5 steps in a row were not finite" in error and len(error.splitlines()) <= 5
        assert f"last good checkpoint: step 7, {tmp_path / 'checkpoints' / '7'}" in error
        assert saved(tmp_path)[0] == 7
    assert [line["skipped"] for line in strictly(tmp_path / "metrics.jsonl") if "skipped" in line] == [3, 6]


@pytest.mark.more
@pytest.mark.parametrize(
    "fixture",
    [*slow_but("small_config", ("small_config", "prior_config", "classifier_config", "code_classifier_config"))],
)
def test_a_rate_that_destroys_the_weights_ends_the_run(request, tmp_path, capsys, fixture):
    config = request.getfixturevalue(fixture)
    config.steps = 12
    config.optimizer.update(
        {"name": "sgd", "learning_rate": 1e6, "schedule": "constant", "warmup": 0, "clip_norm": 0.0}
    )
    assert loop.train(config, tmp_path / "run") == 3
    assert len(capsys.readouterr().err.strip().splitlines()) <= 5
    for item in saved(tmp_path / "run")[1].values():
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(item))
    lines = strictly(tmp_path / "run" / "metrics.jsonl")
    assert sum(line.get("skipped", 0) for line in lines) >= finite.MAX_SKIPPED_IN_A_ROW


@pytest.fixture
def ruin(monkeypatch):
    """Gives a finished run a later checkpoint that is NaN, as a fault might."""

    def ruin(workdir, config):
        target = session_of(config).abstract_state
        with Workdir(workdir).checkpoints() as checkpoints, monkeypatch.context() as patch:
            state, sums = checkpoints.restore(target)
            state = state._replace(step=state.step + 1, params=jax.tree.map(lambda x: x * np.nan, state.params))
            with pytest.raises(InputError, match=f"step {state.step} is not saved, as it is not finite: params/"):
                checkpoints.save(state, sums)
            patch.setattr(finite, "check_finite", lambda *_: None)
            checkpoints.save(state, sums)
            checkpoints.wait_until_finished()
        return str(workdir)

    return ruin


@pytest.mark.more
def test_weights_that_are_not_finite_are_refused(stage1, ruin, small_config, prior_config, tmp_path, capsys):
    path = ruin(stage1, small_config)
    small_config.update({"steps": 9, "init_from": ""})
    started = small_config.copy_and_resolve_references()
    started.init_from = path
    for use in (
        lambda: evaluate(Workdir(path)),
        lambda: Stage1(path).variables,
        lambda: loop.train(prior_config, tmp_path / "prior"),
        lambda: loop.train(started, tmp_path / "started"),
        lambda: loop.train(small_config, path),
        lambda: vqjax.load(path),
    ):
        with pytest.raises(InputError, match="7 is not finite: "):
            use()
    assert exit_status(lambda: main(["export", "tokenizer", path, "--out", str(tmp_path / "out")])) == 2
    assert "7 is not finite: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "prior").exists()
    assert vqjax.load(path, step=6).step == 6


@pytest.mark.slow
def test_predict_and_sample_refuse_them_too(classifier_config, prior_config, ruin, tmp_path):
    for config in (classifier_config, prior_config):
        config.steps = 3
        assert loop.train(config, tmp_path / config.task) == 0
        ruin(tmp_path / config.task, config)
    with pytest.raises(InputError, match="4 is not finite: params/"):
        vqjax.Prior.load(tmp_path / "prior", 4)
    with pytest.raises(InputError, match="4 is not finite: params/"):
        vqjax.Classifier.load(tmp_path / "classifier", 4)


def test_a_start_that_is_not_finite_is_refused(small_config, tmp_path, monkeypatch):
    broken = AutoencoderTask.initialize
    scale = lambda *arguments: jax.tree.map(lambda x: x * np.inf, broken(*arguments))  # noqa: E731
    monkeypatch.setattr(AutoencoderTask, "initialize", scale)
    with pytest.raises(InputError, match="before the first step the state is not finite: params/"):
        loop.train(small_config, tmp_path)
    assert not any((tmp_path / "checkpoints").iterdir())
