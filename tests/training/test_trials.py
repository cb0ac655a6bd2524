"""Runs on a small scale before a long one, and where a step that is not finite begins to be so."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dataset_of, lines_of

import vqjax
from vqjax.__main__ import main, parse
from vqjax.codes import single_level
from vqjax.config.check import build
from vqjax.config.plain import with_fields
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.networks.priors import PRIORS
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.process import exit_status
from vqjax.training import loop, trials
from vqjax.training.debugging import find_causes
from vqjax.training.setup import plan, setup

CONFIGS = ("small_config", "prior_config", "classifier_config", "code_classifier_config")


@pytest.fixture(params=CONFIGS)
def any_config(request):
    """A tiny run of each task."""
    return request.getfixturevalue(request.param)


@pytest.mark.more
def test_trials_of_every_task_are_fit_and_are_not_the_run_itself(any_config, tmp_path):
    settings = Settings.of(any_config)
    for changes in (trials.smoke_changes(settings), trials.overfit_changes(settings, 5)):
        session = setup(plan(Settings.of(with_fields(settings.plain, changes)), Workdir(tmp_path / "run")))
        limit = session.settings.data.limit
        assert {len(split) for split in session.splits.values()} == {limit}
        assert limit in (5, 32) and not any_config.data.limit
    assert not session.prepare or session.settings.task == "code_classifier"  # nothing is augmented
    assert not session.settings.data.validation


@pytest.mark.parametrize(
    "name, key, table",
    [
        ("imagenet_vqgan", "encoder", ENCODERS),
        ("imagenet_vqgan", "decoder", DECODERS),
        ("cifar10_dalle", "encoder", ENCODERS),
        ("folder_transformer", "prior", PRIORS),
        ("transformer", "prior", PRIORS),
    ],
)
def test_small_networks_can_be_built(name, key, table):
    """Widths that must be multiples, of groups or of heads, stay that."""
    settings = Settings.of(vqjax.get_config(name))
    model = Settings.of(with_fields(settings.plain, trials.smoke_changes(settings))).model
    given = {"layout": single_level((2, 2), 4), "num_classes": 0} if key == "prior" else {"features": 4}
    assert (
        build(table, model, key, dtype=jnp.float32, **given).width
        < build(table, settings.model, key, dtype=jnp.float32, **given).width
    )


@pytest.mark.slow
def test_a_smoke_test_has_every_phase_and_leaves_nothing(prior_config, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert trials.smoke(Settings.of(prior_config), tmp_path / "runs" / "prior", False, "python train.py") == 0
    phases = ["reading the data", "first weights", "compiling", "step 4, ", "eval.json", ".png", "smoke test passed"]
    said = capsys.readouterr().out
    assert [phase for phase in phases if phase not in said] == []
    left = {path for path in tmp_path.rglob("*") if path not in before}
    assert left == {tmp_path / "runs", tmp_path / "stage1" / "pins"}  # both are empty


@pytest.mark.slow
def test_overfitting_is_said_and_is_not_taken_for_the_run(small_config, tmp_path, capsys):
    small_config.steps = 12
    small_config.optimizer.learning_rate = 3e-3
    assert trials.overfit(Settings.of(small_config), tmp_path / "run", 4) == 0
    assert "loss on train: " in (said := capsys.readouterr().out) and "did not fall" not in said
    losses = [line["loss"] for line in lines_of(tmp_path / "run-overfit" / "metrics.jsonl") if line["split"] == "train"]
    assert losses[-1] < losses[0] and not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="holds another run:\nconfig.data.limit=0, there 4"):
        loop.train(small_config, tmp_path / "run-overfit")
    with pytest.raises(InputError, match="--overfit=0: expected at least 1"):
        trials.overfit(Settings.of(small_config), tmp_path / "run", 0)


@pytest.mark.parametrize(
    "losses, word", [([3.0, 2.0], "3 at step 0, 2"), ([2.0, 3.0], "did not fall"), ([2.0], "seldom")]
)
def test_a_loss_that_does_not_fall_is_named(losses, word, tmp_path):
    lines = [{"step": step, "split": "train", "loss": loss} for step, loss in enumerate(losses)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert word in trials.describe_loss_change(tmp_path)


def test_a_limit_takes_the_first_images_of_each_split(small_config):
    small_config.data.validation = 0.1
    whole = datasets.load_splits(dataset_of(small_config))
    small_config.data.limit = 7
    found = datasets.load_splits(dataset_of(small_config))
    assert found.keys() == whole.keys() == {"train", "validation", "test"}
    for name, split in found.items():
        np.testing.assert_array_equal(split.arrays["image"], whole[name].arrays["image"][:7])
    small_config.data.limit = 10**6
    assert {name: len(split) for name, split in datasets.load_splits(dataset_of(small_config)).items()} == {
        name: len(split) for name, split in whole.items()
    }


def faulty(x):
    """1 / 0 where nobody looks, then a NaN that gets into the result by way of calls of calls."""
    ignored = jnp.where(x > 5, 1 / (x - x), 0)
    return {"ok": ignored.sum(), "bad": jax.jit(jax.nn.relu)(jnp.log(x - 2)).sum() + 1, "loop": jax.lax.cumsum(x)}


def test_the_first_operation_that_counts_is_named():
    found = find_causes(faulty, x=jnp.arange(4.0))
    assert found["ok"] is None and found["loop"] is None and found["bad"].operation == "log"
    assert "from -2 to 1" in str(found["bad"])
    found = find_causes(
        lambda x: jax.lax.cond(x.sum() > 0, lambda x: x, lambda x: jnp.sqrt(x), x), x=jnp.arange(4.0) - 9
    )
    assert found.operation == "sqrt"
    assert "x/1 as it was given" in str(find_causes(lambda x: x[1] * 2, x=(jnp.ones(2), jnp.array([np.nan, 1.0]))))


@pytest.mark.more
@pytest.mark.parametrize("microbatch", [0, 4])
def test_a_run_stops_at_the_first_step_that_is_not_finite(small_config, microbatch, tmp_path, capsys):
    small_config.microbatch = microbatch
    small_config.model.quantizer, small_config.model.deepmind.blocks = "none", 0
    small_config.model.mse.weight = 1e6
    small_config.optimizer.update({"name": "sgd", "learning_rate": 1e6})
    assert loop.train(small_config, tmp_path / "run", debug_nans=True) == 3
    first, place, operands = capsys.readouterr().err.strip().splitlines()
    assert re.fullmatch(r"error: step \d is not finite: \w+ in the (for|back)ward pass of SingleLevel/\S+", first)
    assert re.fullmatch(r"  at \S*vqjax/\S+\.py:\d+ \(.*\)", place) and operands.startswith("  of float32[")


def test_flags_of_training(capsys):
    words = ["--config", "digits", "--smoke", "--overfit", "3"]
    given = {"smoke": True, "overfit": 3, "profile": 0, "debug_nans": False}
    assert given.items() <= vars(parse(["train", *words])[1]).items()
    for wrong, message in ((words, "--smoke and --overfit: "), ([*words[:2], "--profile=-1"], "--profile=-1: ")):
        assert exit_status(lambda wrong=wrong: main(["train", *wrong])) == 2
        assert message in capsys.readouterr().err
