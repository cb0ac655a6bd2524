"""Runs that are older than some of the fields that a config has by now."""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util
from helpers import train
from ml_collections import ConfigDict

from configs import autoencoder, classifier, prior
from vqjax.config.check import section
from vqjax.config.history import ADDED, MOVED, upgrade_config
from vqjax.runs.workdir import FORMAT, Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.evaluation import evaluate

LATER = ("fsq", "gaussian")  # quantizers that came after the first runs


@pytest.mark.parametrize("base", [autoencoder, classifier])
def test_what_is_filled_in_is_what_the_base_config_has(base):
    """So that the command of an older run is still its command."""
    config = base.get_config()
    for key, value in ADDED[config.task].items():
        found = section(config, key)
        assert (found.to_dict() if isinstance(found, ConfigDict) else found) == value
        parent, _, name = key.rpartition(".")
        del (section(config, parent) if parent else config)[name]
    assert upgrade_config(config).to_dict() == base.get_config().to_dict() != config.to_dict()


def flat(config):
    return traverse_util.flatten_dict(config.to_dict(), sep=".")


def test_fields_of_the_first_version_have_their_names_of_now():
    """MOVED as in the first commit, but for the prior's, which came later; and a config of now stays as it is."""
    config = autoencoder.get_config()
    for old, new in MOVED["autoencoder"].items():
        *path, name = old.split(".")
        if path[-1] not in (parent := section(config, ".".join(path[:-1]))):
            parent[path[-1]] = {}
        place, _, now = new.rpartition(".")
        section(config, ".".join(path))[name] = section(config, place)[now]
        del section(config, place)[now]
    assert flat(upgrade_config(config)) == flat(autoencoder.get_config()) != flat(config)
    again = prior.get_config()
    again.optimizer.codebook_rate = 30.0
    assert upgrade_config(again) == upgrade_config(prior.get_config())


def test_a_run_that_cannot_be_built_names_the_version_that_can_read_it(stage1):
    config = json.loads((stage1 / "config.json").read_text())
    config["model"]["deepmind"]["depth"] = 3
    (stage1 / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="deepmind.depth is unknown(.|\n)*made by vqjax 0.*, git commit .*can read it"):
        evaluate(Workdir(stage1))


def test_the_fields_of_each_format_are_known():
    """A field that is renamed or goes is in MOVED, and the format rises: then its list of fields is written anew."""
    before = json.loads((Path(__file__).parent / f"fields_{FORMAT}.json").read_text())
    for base in (autoencoder, prior, classifier):
        config = base.get_config()
        assert {*before[config.task]} <= {*flat(config)}, "raise vqjax.runs.workdir.FORMAT, see vqjax/config/history.py"


def forget(workdir):
    """Makes config.json that of an older run; returns its model."""
    config = json.loads((workdir / "config.json").read_text())
    for name in LATER:
        del config["model"][name]
    (workdir / "config.json").write_text(json.dumps(config))
    return config["model"]


def digest(model, variables):
    """SHA-256 over a model's config and variables, as it was computed when there was nothing to fill in."""
    found = hashlib.sha256(json.dumps(model, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{leaf.shape}".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


@pytest.fixture
def base_config(small_config):
    """Small, but with the later quantizers as the base config has them."""
    for name in LATER:
        small_config.model[name] = autoencoder.get_config().model[name]
    return small_config


def test_an_older_run_is_evaluated_used_and_resumed(base_config, prior_config, tmp_path):
    assert loop.train(base_config, tmp_path / "old") == 0
    model, workdir = forget(tmp_path / "old"), Workdir(tmp_path / "old")
    before = json.loads((tmp_path / "old" / "eval.json").read_text())
    assert workdir.differences(base_config) == {} and not set(LATER) & set(model)
    assert evaluate(workdir)[1]["psnr"] == pytest.approx(before["psnr"])
    stage1 = Stage1(tmp_path / "old")
    assert stage1.fingerprint == digest(model, stage1.variables)
    prior_config.stage1 = str(tmp_path / "old")
    assert loop.train(prior_config, tmp_path / "prior") == 0
    base_config.steps = 10
    assert loop.train(base_config, tmp_path / "old") == 0
    recorded = json.loads((tmp_path / "old" / "config.json").read_text())
    assert recorded["steps"] == 10 and recorded["model"] == model
    resumed = Stage1(tmp_path / "old")
    assert resumed.fingerprint == digest(model, resumed.variables) != stage1.fingerprint
    assert json.loads((tmp_path / "old" / "eval.json").read_text())["step"] == 10


@pytest.mark.slow
def test_an_older_classifier_goes_on(classifier_config, tmp_path):
    for name in LATER:
        classifier_config.model[name] = classifier.get_config().model[name]
    assert loop.train(classifier_config, tmp_path) == 0
    model = forget(tmp_path)
    classifier_config.steps = 8
    assert loop.train(classifier_config, tmp_path) == 0
    assert json.loads((tmp_path / "config.json").read_text())["model"] == model


def test_an_older_run_with_another_setting_is_another_run(base_config, tmp_path):
    """Only what it would have had by default is the same."""
    assert loop.train(base_config, tmp_path) == 0
    forget(tmp_path)
    base_config.model.fsq.levels = (5, 5)
    assert Workdir(tmp_path).differences(base_config) == {"model.fsq.levels": ([8, 8, 8], [5, 5])}


@pytest.mark.slow
def test_levels_on_the_command_line(tmp_path):
    """The same command again finds its run, though config.json has them as a list."""
    words = ["--config.model.quantizer=fsq", "--config.model.fsq.levels=(4, 3)", "--config.steps=4"]
    for _ in range(2):
        result = train(tmp_path, *words)
        assert result.returncode == 0, result.stderr
    assert "is finished after 4 steps" in result.stdout
    assert json.loads((tmp_path / "config.json").read_text())["model"]["fsq"] == {"levels": [4, 3]}
