"""Classification, end to end and on a frozen stage 1."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, fake, slow_but
from helpers import (
    assert_close,
    assert_same,
    covering,
    dataset_of,
    lines_of,
    rewrite,
    run,
    saved,
    session_of,
    split_of,
    stop_after,
    task_of,
)

from configs import code_classifier
from vqjax import tasks
from vqjax.data import datasets
from vqjax.data.augmentation import augment
from vqjax.data.batches import batches
from vqjax.networks.backbones import BACKBONES, HEADS
from vqjax.ops import axes
from vqjax.quantizers import QUANTIZERS, Quantized
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.base import example_keys
from vqjax.tasks.code_classifier import INPUTS
from vqjax.tasks.quantized_classifier import Classified
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.evaluation import evaluate

PAIRS = {  # backbones and quantizers, with one code and with a grid
    "small": ("gumbel", "grid"),
    "resnet18": ("ema", "grid"),
    "deepmind": ("vq", "pooled"),
}


def test_the_objective_by_hand(classifier_config):
    """Probabilities 1/2, 1/4 and 8 times 1/32, label 1, a tenth of it spread over all ten classes."""
    classifier_config.model.label_smoothing = 0.1
    task = task_of(classifier_config)
    p = np.array([[1 / 2, 1 / 4, *[1 / 32] * 8]])
    output = Classified(jnp.log(p), (), (Quantized(None, None, 0.25, {"commitment_loss": 0.25}),))
    loss, metrics = task.loss(output, {"label": np.array([1])})
    smoothed = 0.9 * np.log(4) + 0.01 * (np.log(2) + np.log(4) + 8 * np.log(32))
    np.testing.assert_allclose([loss, metrics["loss"]], smoothed + 0.25, rtol=1e-6)
    np.testing.assert_allclose(metrics["cross_entropy"], np.log(4), rtol=1e-6)
    assert (metrics["accuracy"], metrics["top5"], metrics["commitment_loss"]) == (0, 1, 0.25)
    np.testing.assert_array_equal(
        task.eval_metrics({}, output, {"label": np.array([1])})["confusion"], np.eye(10)[[1]].T @ np.eye(10)[[0]]
    )


def test_top5_looks_at_five(classifier_config):
    task = task_of(classifier_config)
    logits = jnp.tile(-jnp.arange(10.0), (10, 1))  # class 0 first, class 9 last
    output = Classified(logits, (), (Quantized(None, None, 0.0, {}),))
    metrics = task.loss(output, {"label": np.arange(10)})[1]
    np.testing.assert_allclose([metrics["accuracy"], metrics["top5"]], [0.1, 0.5], rtol=1e-6)


@pytest.mark.more
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_one_code_or_a_grid(classifier_config, quantizer):
    """One: the mean over positions is quantized. Grid: every position is, and the mean is that of the quantized."""
    classifier_config.model.quantizer = quantizer
    for quantize, grid in (("pooled", (1, 1)), ("grid", (4, 4))):
        classifier_config.model.quantize = quantize
        task = task_of(classifier_config)
        variables = jax.jit(task.init)(jax.random.key(0))
        batch = split_of(classifier_config, "test")[:8].arrays
        output = task.apply_eval(variables, batch)
        features = BACKBONES["small"](4, 1).apply(
            {name: value["backbone"] for name, value in variables.items() if "backbone" in value},
            task.inputs(batch),
            False,
        )
        z = features.mean((1, 2), keepdims=True) if quantize == "pooled" else features
        z = z / np.sqrt(1 + 1e-5)  # batch norm at its first running statistics
        np.testing.assert_allclose(output.vectors[0], z, atol=1e-6)
        (quantized,) = output.quantized
        z_q = quantized.z_q
        assert z_q.shape == (8, *grid, 4)
        if quantizer in CODED:
            depth = task.module.quantizer.depth
            assert quantized.codes.shape == (8, *grid, *[depth][: depth > 1])
        else:
            assert quantized.codes is None
        head = variables["params"]["head"]["Dense_0"]
        np.testing.assert_allclose(output.logits, z_q.mean((1, 2)) @ head["kernel"] + head["bias"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_eight_devices_are_one(classifier_config, backbone):
    """Batch norm, dropout, augmentation, k-means, restarts and noise included.

    By gradient descent: Adam turns the rounding of gradients that are 0 into steps, and before any bias is learned the
    scale of the features, which are normalized, has such a gradient.
    """
    quantizer, quantize = PAIRS.get(backbone, ("ema", "pooled"))
    classifier_config.optimizer.name = "sgd"
    classifier_config.model.update({"backbone": backbone, "quantizer": quantizer, "quantize": quantize})
    _, eight, history = run(classifier_config, "shard_map", devices=8, steps=3)
    _, one, history_of_one = run(classifier_config, devices=1, steps=3)
    assert_close((eight.params, eight.extra), (one.params, one.extra), 1e-5)
    for a, b in zip(history, history_of_one):
        assert_close(a, b, 1e-5)
    leaves = jax.tree_util.tree_leaves_with_path(one.extra["batch_stats"])
    assert all(np.any(leaf) for path, leaf in leaves if path[-1].key == "mean")  # they start at 0


@pytest.mark.parametrize("backbone, head", covering(BACKBONES, HEADS))
def test_bfloat16_is_of_the_networks_alone(classifier_config, backbone, head):
    """Half precision inside; parameters, statistics, what is quantized, logits and losses in float32."""
    classifier_config.model.update({"dtype": "bfloat16", "backbone": backbone, "head": head, "quantize": "grid"})
    task = task_of(classifier_config)
    variables = jax.eval_shape(task.init, jax.random.key(0))
    batch = {"image": np.zeros((4, 8, 8, 1), np.uint8), "label": np.arange(4), "example": np.arange(4)}

    def step(variables, batch):
        output, extra = task.apply(variables, batch, True, 0.0, example_keys(batch, jax.random.key(1)))
        return (output.logits, output.vectors), extra, task.loss(output, batch)

    program = jax.make_jaxpr(step, axis_env=[(axes.BATCH, 1)])(variables, batch)
    assert "bf16" in str(program)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, program.out_avals))} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_a_run_writes_what_describes_it(classifier_config, tmp_path):
    classifier_config.update({"steps": 12, "batch_size": 64})
    assert loop.train(classifier_config, tmp_path / "run") == 0
    workdir = tmp_path / "run"
    names = {path.name for path in workdir.iterdir()}
    assert {"predictions.png", "confusion.png", "codebook.png", "curves.png", "eval.json", "config.json"} <= names
    figures, facts = (json.loads((workdir / name).read_text()) for name in ("eval.json", "run.json"))
    assert facts["class_names"] == list("0123456789") and facts["dataset"] == "digits"

    scores = {
        line["step"]: line["accuracy"] for line in lines_of(workdir / "metrics.jsonl") if line["split"] == "validation"
    }
    assert figures["split"] == "test" and scores[figures["step"]] == max(scores.values())

    task = tasks.load_task(Workdir(workdir))
    variables = Workdir(workdir).restore_variables(task.abstract_variables)[1]
    test = split_of(classifier_config, "test")
    logits = np.asarray(task.apply_eval(variables, test.arrays).logits)
    order, labels = np.argsort(-logits, axis=1), test.arrays["label"]
    np.testing.assert_allclose(figures["accuracy"], np.mean(order[:, 0] == labels), rtol=1e-6)
    np.testing.assert_allclose(figures["top5"], np.mean(np.any(order[:, :5] == labels[:, None], axis=1)), rtol=1e-6)
    by_class = {str(c): np.mean(order[labels == c, 0] == c) for c in range(10)}
    assert figures["accuracy_by_class"] == pytest.approx(by_class, abs=1e-5)
    assert figures["parameters"] == sum(map(np.size, jax.tree.leaves(variables["params"])))
    assert 1 <= figures["codes_used"] <= 16

    (workdir / "eval.json").unlink()
    again = evaluate(Workdir(workdir))[1]
    assert again == pytest.approx({k: v for k, v in figures.items() if k in again}, rel=1e-5)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical(classifier_config, tmp_path):
    classifier_config.model.quantizer = "gumbel"
    assert loop.train(classifier_config, tmp_path / "whole") == 0
    assert loop.train(classifier_config, tmp_path / "cut", on_step=stop_after(3)) == 143
    assert loop.train(classifier_config, tmp_path / "cut") == 0
    assert_same(saved(tmp_path / "whole"), saved(tmp_path / "cut"))
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == (tmp_path / "cut" / "metrics.jsonl").read_text()


@pytest.mark.more
@pytest.mark.parametrize("inputs, head, augmented", covering(INPUTS, HEADS, (False, True, True)))
@pytest.mark.thinned(3)
def test_on_a_frozen_stage_1_eight_devices_are_one(code_classifier_config, inputs, head, augmented):
    code_classifier_config.model.update({"inputs": inputs, "head": head})
    code_classifier_config.data.update({"flip": augmented, "crop": int(augmented)})
    _, eight, history = run(code_classifier_config, devices=8, steps=2)
    _, one, history_of_one = run(code_classifier_config, devices=1, steps=2)
    assert_close((eight.params, eight.extra), (one.params, one.extra), 1e-5)
    assert_close(history[-1], history_of_one[-1], 1e-5)


def test_what_a_head_sees_of_stage_1(code_classifier_config):
    """Code vectors, the same from kept codes as from images; the encoder's vectors before quantization; pixels."""
    test = datasets.read_split(dataset_of(code_classifier_config), "test")[:8]
    seen = {}
    for inputs in INPUTS:
        code_classifier_config.model.inputs = inputs
        task = task_of(code_classifier_config)
        batch = {**test.arrays, "example": np.arange(8)}
        seen[inputs] = np.asarray(task.prepare(batch, None, task.frozen)["features"])
    stage1, images = task.stage1, test.arrays["image"]
    module, variables = stage1.task.module, stage1.variables
    x = stage1.task.likelihood.inputs(images)
    output = module.apply(variables, x, False)
    np.testing.assert_allclose(seen["latents"], output.vectors[0], atol=1e-6)
    np.testing.assert_allclose(seen["codes"], output.quantized[0].z_q, atol=1e-5)
    np.testing.assert_allclose(seen["pixels"], images / 127.5 - 1, atol=1e-6)

    code_classifier_config.model.inputs = "codes"
    task = task_of(code_classifier_config)
    kept = split_of(code_classifier_config, "test")[:8].arrays
    assert set(kept) == {"codes", "label"}
    np.testing.assert_array_equal(task.prepare(kept, None, task.frozen)["features"], seen["codes"])


def test_augmentation_comes_before_stage_1(code_classifier_config):
    code_classifier_config.data.update({"flip": True, "crop": 1})
    session = session_of(code_classifier_config)
    task, splits = session.task, session.splits
    assert "image" in splits["train"].arrays and "codes" in splits["test"].arrays
    batch, key = next(batches(splits["train"], 16, 0, True)), jax.random.key(3)
    augmented = augment(batch["image"], batch["example"], key, True, 1)
    expected = task.prepare({"image": augmented}, None, task.frozen)["features"]
    np.testing.assert_array_equal(task.prepare(batch, key, task.frozen)["features"], expected)
    assert np.any(expected != task.prepare(batch, None, task.frozen)["features"])


def test_neither_state_nor_step_holds_stage_1(code_classifier_config):
    session = session_of(code_classifier_config)
    batch = {"features": np.zeros((4, *session.task.input_shape), np.float32)}
    batch |= {"label": np.zeros(4, np.int32), "example": np.arange(4)}
    state = session.abstract_state
    step = jax.make_jaxpr(session.step, axis_env=[(axes.BATCH, 1)])(state, batch)
    assert sum(map(np.size, step.consts)) < 100
    assert set(state.params) == {"head"} and set(state.extra) == {"batch_stats"}


@pytest.mark.parametrize("inputs", slow_but("codes", INPUTS))
def test_a_run_on_a_frozen_stage_1(code_classifier_config, stage1, tmp_path, inputs):
    code_classifier_config.model.inputs = inputs
    assert loop.train(code_classifier_config, tmp_path / "run") == 0
    figures, facts = (json.loads((tmp_path / "run" / name).read_text()) for name in ("eval.json", "run.json"))
    assert facts["stage1"] == Stage1(stage1).fingerprint
    assert {"accuracy", "top5", "parameters", "accuracy_by_class"} <= set(figures)
    assert ("codes_used" in figures) == ((tmp_path / "run" / "codebook.png").exists()) == (inputs == "codes")
    assert (tmp_path / "run" / "predictions.png").exists()
    if inputs == "codes":
        codes = Stage1(stage1).read(dataset_of(code_classifier_config), "test").arrays["codes"]
        assert figures["codes_used"] == len(np.unique(codes))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("model.backbone", "resnet", "config.model.backbone='resnet' is unknown. Did you mean \"resnet18\"?"),
        ("model.head", "linear", "config.model.head='linear' is unknown"),
        ("model.head", "conv", "config.model.head='conv': config.model.quantize='pooled' leaves it one position"),
        ("model.quantizer", "non", "config.model.quantizer='non' is unknown. Did you mean \"none\"?"),
        ("model.quantize", "all", "config.model.quantize='all': expected one of pooled, grid"),
        ("model.label_smoothing", 1.0, "config.model.label_smoothing=1.0: expected at least 0 and at most 0.99"),
        (
            "model.small.stages",
            5,
            "config.model.small: after 5 stages nothing is left of the images of config.data.name='digits', 8 x 8",
        ),
        ("model.small.width", 0, "config.model.small.width=0: expected at least 1"),
        ("model.pooled.dropout", 1.0, "config.model.pooled.dropout=1.0"),
        ("optimizer.warmup", 6, "config.optimizer.warmup=6: expected less than config.steps=6"),
    ],
)
def test_bad_input_is_refused(classifier_config, tmp_path, field, value, message):
    classifier_config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError) as refused:
        loop.train(classifier_config, tmp_path / "run")
    assert message in str(refused.value) and not (tmp_path / "run").exists()


def test_a_dataset_without_labels_is_refused(classifier_config, code_classifier_config, stage1, monkeypatch, tmp_path):
    monkeypatch.setitem(datasets.DATASETS, "digits", fake((8, 8, 1), ()))
    rewrite(stage1 / "run.json", class_names=[])
    for config in (classifier_config, code_classifier_config):
        with pytest.raises(InputError, match="config.data.name='digits' has no labels: there is nothing to classify"):
            loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stage_1_of_other_images_is_refused(code_classifier_config, stage1, tmp_path, monkeypatch):
    for name in code_classifier.VARIANTS.keys() - {"digits"}:
        config = code_classifier.get_config(name)
        config.stage1 = str(stage1)
        with pytest.raises(
            InputError, match=f"config.data.name='{name}', but config.stage1=.* was trained on 'digits'"
        ):
            loop.train(config, tmp_path / "run")
    config = code_classifier_config
    with monkeypatch.context() as patch:
        patch.setitem(datasets.DATASETS, "digits", fake((16, 16, 1)))
        with pytest.raises(InputError, match="config.stage1=.* image_shape 16 x 16 x 1, the run .* on 8 x 8 x 1"):
            loop.train(config, tmp_path / "run")
    described = json.loads((stage1 / "config.json").read_text())
    described["model"].update({"quantizer": "none", "none": {}})
    (stage1 / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="has no codes: it was trained with config.model.quantizer='none'"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.more
def test_an_autoencoder_without_a_quantizer_trains(small_config, tmp_path):
    small_config.model.quantizer = "none"
    assert loop.train(small_config, tmp_path / "run") == 0
    figures = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert "mse" in figures and "codes_used" not in figures
