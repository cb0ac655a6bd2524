"""The head beside the decoder: `config.model.class_weight` above 0."""

import json

import jax
import numpy as np
import pytest
from conftest import fake, more_but, small_autoencoder
from helpers import assert_same, lines_of, run, session_of, split_of, task_of
from matplotlib.figure import Figure

import vqjax
from vqjax.data import datasets
from vqjax.networks.backbones import HEADS
from vqjax.runs import plots
from vqjax.system.errors import InputError
from vqjax.tasks.codecs import CODECS
from vqjax.training import loop, startup


def with_head(weight, codec="single", head="pooled"):
    """A tiny autoencoder of digits with a head, or of weight 0 without one."""
    config = small_autoencoder()
    config.model.update(class_weight=weight, codec=codec, head=head)
    for level in ("top", "bottom"):
        config.model.hierarchical[level].update(num_codes=16, stages=1)
    return config


def cross_entropy(logits, labels):
    logits = np.asarray(logits, np.float64)
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels])


@pytest.mark.parametrize("codec", more_but("single", CODECS))
def test_the_loss_by_hand(codec):
    """The weighted error over the variance, the quantizers' losses, and the weight times the cross-entropy."""
    config = with_head(2.5, codec)
    task, test = session_of(config).task, split_of(config, "test")
    variables = jax.jit(task.init)(jax.random.key(0))
    batch = test[:16].arrays
    output = jax.jit(task.apply_eval)(variables, batch)
    loss, metrics = task.loss(output, batch)
    errors = np.mean((task.likelihood.mean(output.output) - batch["image"] / 255) ** 2)
    found = cross_entropy(output.logits, batch["label"])
    reconstruction = task.likelihood.weight * errors / task.facts["variance"]
    by_hand = reconstruction + sum(level.loss for level in output.quantized) + 2.5 * found
    np.testing.assert_allclose([loss, metrics["loss"]], by_hand, rtol=1e-5)
    np.testing.assert_allclose(metrics["cross_entropy"], found, rtol=1e-5)
    assert metrics["accuracy"] == np.mean(output.logits.argmax(1) == batch["label"])
    # The logits are of what the decoder is given.
    given = task.lookup(variables, jax.jit(task.encode)(variables, batch["image"]))
    head = variables["params"]["head"]["Dense_0"]
    np.testing.assert_allclose(output.logits, given.mean((1, 2)) @ head["kernel"] + head["bias"], atol=1e-5)


def test_a_weight_of_0_is_no_head():
    """Bit for bit: neither parameters, nor metrics, nor another step than that of the codec alone.

    A head changes nothing of what the rest starts from, and its loss reaches the encoder.
    """
    config = with_head(0.0)
    _, without, history = run(config, devices=1, steps=3)
    assert "head" not in without.params and not {"accuracy", "cross_entropy"} & history[0].keys()
    config.model.update(head="conv")
    _, again, history_again = run(config, devices=1, steps=3)
    assert_same((without, history), (again, history_again))
    _, state, metrics = run(with_head(1.0), devices=1, steps=3)
    head = state.params.pop("head")
    assert {*head["Dense_0"]} == {"bias", "kernel"} and {"accuracy", "cross_entropy"} <= metrics[0].keys()
    assert jax.tree.structure(state.params) == jax.tree.structure(without.params)
    for name in ("mse", "commitment_loss"):
        np.testing.assert_allclose(metrics[0][name], history[0][name], rtol=1e-6)
    differ = jax.tree.map(lambda a, b: np.any(a != b), state.params["encoder"], without.params["encoder"])
    assert any(jax.tree.leaves(differ))


@pytest.mark.parametrize("head", more_but("conv", [name for name in HEADS if name != "pooled"]))
def test_another_head_takes_a_step(head):
    _, state, (metrics,) = run(with_head(1.0, head=head), devices=1, steps=1)
    assert np.isfinite(metrics["cross_entropy"]) and 0 <= metrics["accuracy"] <= 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params["head"]))


@pytest.mark.parametrize("codec", more_but("single", CODECS))
def test_a_run_has_its_accuracy_and_its_codes_by_class(codec, tmp_path, monkeypatch, capsys):
    """The accuracy in training and in eval.json; the picture shows how often each class has each code."""
    drawn, save = [], plots.save_codes_by_class
    monkeypatch.setattr(plots, "save_codes_by_class", lambda *given: (drawn.append(given), save(*given)))
    assert loop.train(with_head(1.0, codec), tmp_path / "run") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert said and all(" accuracy " in line for line in said) and "accuracy" in task_of(with_head(1.0, codec)).curves
    lines = lines_of(tmp_path / "run" / "metrics.jsonl")
    assert {line["split"] for line in lines} >= {"train", "test"}
    assert all(0 <= line["accuracy"] <= 1 and line["cross_entropy"] > 0 for line in lines)
    figures = json.loads((tmp_path / "run" / "eval.json").read_text())
    test = split_of(with_head(1.0, codec), "test").arrays
    assert round(figures["accuracy"] * len(test["label"]), 3).is_integer()
    path, shares, names = drawn[-1]
    assert path == tmp_path / "run" / "codes_by_class.png" and path.stat().st_size > 5_000
    assert names == tuple("0123456789")

    codes = vqjax.Tokenizer.load(tmp_path / "run").encode(test["image"])
    grids = {f"_{name}": grid for name, grid in codes.items()} if isinstance(codes, dict) else {"": codes}
    assert shares.keys() == {f"codes_by_class{name}" for name in grids}
    for name, grid in grids.items():
        counts = np.zeros((10, 16))
        np.add.at(counts, (test["label"][:, None], grid.reshape(len(grid), -1)), 1)
        np.testing.assert_allclose(shares[f"codes_by_class{name}"], counts / grid.size, atol=1e-6)
        assert figures[f"codes_used{name}"] == np.sum(counts.sum(0) > 0)


def test_the_picture_shows_each_code_by_the_class_that_uses_it_most(tmp_path, monkeypatch):
    """In percent of the code's uses; a code that nobody uses is left out."""
    figures, savefig = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), savefig(figure, *a, **k)))
    shares = {"codes_by_class": np.array([[0.1, 0.0, 0.3, 0.0], [0.3, 0.0, 0.1, 0.2]])}
    plots.save_codes_by_class(tmp_path / "codes.png", shares, ("cat", "dog"))
    panel = figures[0].axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), [[75, 0, 25], [25, 100, 75]])
    assert [label.get_text() for label in panel.get_yticklabels()] == ["cat", "dog"]
    assert panel.get_xlabel() == "3 codes that are used"


def refused_before_any_compile(config, workdir, monkeypatch):
    """The line with which a run is refused."""
    monkeypatch.setattr(startup.Startup, "submit", None)
    with pytest.raises(InputError) as refused:
        loop.train(config, workdir)
    (line,) = str(refused.value).splitlines()
    assert "config.model.class_weight=0" in line and not (workdir / "checkpoints").exists()
    return line


def test_data_without_labels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "digits", fake((8, 8, 1), ()))
    line = refused_before_any_compile(with_head(1.0), tmp_path / "run", monkeypatch)
    assert line.startswith("config.data.name='digits' has no labels: there is nothing to classify")
    task_of(with_head(0.0))


def test_a_split_without_labels_is_refused(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez(tmp_path / "images.npz", x_train=images, y_train=np.arange(40) % 2, x_test=images[:16])
    config = with_head(1.0)
    config.data.update(name="arrays", path=str(tmp_path / "images.npz"))
    line = refused_before_any_compile(config, tmp_path / "run", monkeypatch)
    assert "test has no labels, and config.model.class_weight above 0 needs them" in line
    config.model.class_weight = 0.0
    session_of(config)
