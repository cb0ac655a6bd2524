"""A fifth task, written on the contract alone, goes through the loop, the evaluation and the tables like the others."""

import json

import flax.linen as nn
import jax.numpy as jnp
import pytest
from helpers import lines_of

from vqjax.networks.likelihoods import to_unit
from vqjax.runs.workdir import Workdir
from vqjax.tasks import TASKS
from vqjax.tasks.base import Pictures, Task
from vqjax.training import loop
from vqjax.training.ablation import ablate
from vqjax.training.evaluation import evaluate


class Darken(nn.Module):
    @nn.compact
    def __call__(self, x, train, progress=1.0, keys=None):
        return nn.Conv(x.shape[-1], (3, 3))(x)


class Darkening(Task):
    """Half as bright an image, by one convolution."""

    curves = ("loss",)

    def build(self):
        self.module = Darken()

    def inputs(self, batch):
        return to_unit(batch["image"])

    def loss(self, output, batch):
        loss = jnp.mean((output - self.inputs(batch) / 2) ** 2)
        return loss, {"loss": loss}

    def images(self, variables, batch):
        return {"darkened": Pictures(jnp.clip(self.apply_eval(variables, batch), 0, 1))}


@pytest.fixture
def config(small_config, monkeypatch):
    monkeypatch.setitem(TASKS, "darkening", Darkening)
    small_config.update({"task": "darkening", "steps": 60, "log_every": 20, "eval_every": 30, "save_every": 30})
    small_config.data.update({"validation": 0.1, "crop": 1})
    small_config.optimizer.learning_rate = 1e-2
    return small_config


def test_a_fifth_task_is_trained_resumed_and_evaluated(config, tmp_path):
    assert loop.train(config, tmp_path / "run") == 0
    lines = lines_of(tmp_path / "run" / "metrics.jsonl")
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert losses[-1] < losses[0] / 5 and {line["split"] for line in lines} == {"train", "validation"}
    assert {"darkened.png", "curves.png", "eval.json"} <= {path.name for path in (tmp_path / "run").iterdir()}
    config.steps = 90
    assert loop.train(config, tmp_path / "run") == 0
    step, figures = evaluate(Workdir(tmp_path / "run"))
    assert figures["loss"] == pytest.approx(json.loads((tmp_path / "run" / "eval.json").read_text())["loss"])
    assert step in (60, 90) and figures["parameters"] == 10


def test_a_task_is_built_once_per_run(config, tmp_path, monkeypatch):
    built = []
    build = Darkening.build
    monkeypatch.setattr(Darkening, "build", lambda self: (built.append(1), build(self))[1])
    assert loop.train(config, tmp_path / "run") == 0 and len(built) == 1


def test_a_fifth_task_is_a_row_of_a_table(config, tmp_path):
    from ml_collections import ConfigDict

    assert ablate(ConfigDict({"row": config}), tmp_path) == 0
    assert "darkening" in (tmp_path / "table.csv").read_text()
