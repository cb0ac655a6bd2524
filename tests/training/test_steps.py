"""The compiled steps: on 1 and 8 devices, under pmap and shard_map, over splits that the batch does not divide."""

import jax
import numpy as np
import pytest
from conftest import CODED, several_codebooks, slow_but
from helpers import assert_close, dataset_of, lines_of, run, split_of, task_of

from configs import autoencoder
from vqjax.runs.devices import PARALLEL
from vqjax.training import loop
from vqjax.training.evaluation import Evaluator

RESTARTING = [name for name in CODED if "dead_code_threshold" in autoencoder.get_config().model[name]]


@pytest.fixture
def busy_config(small_config):
    """Everything on that could differ between devices: k-means, restarts, augmentation, batch norm."""
    small_config.data.update({"flip": True, "crop": 1})
    small_config.model.deepmind.batch_norm = True
    for name in RESTARTING:
        small_config.model[name].update({"kmeans": True, "dead_code_threshold": 0.9, "decay": 0.7})
    return small_config


def assert_eight_devices_are_one(config, steps):
    replicas, eight, history = run(config, devices=8, steps=steps)
    for leaf in jax.tree.leaves(replicas):  # every device's copy, bit for bit
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 8
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0])
    _, one, history_of_one = run(config, devices=1, steps=steps)
    assert_close((eight.params, eight.extra), (one.params, one.extra), 1e-5)
    for a, b in zip(history, history_of_one):
        assert_close(a, b, 1e-5)
    assert eight.step == steps


@pytest.mark.parametrize("quantizer", slow_but("ema", CODED))
def test_eight_devices_are_one(busy_config, quantizer):
    busy_config.model.quantizer = quantizer
    assert_eight_devices_are_one(busy_config, 10)


@pytest.mark.more
@pytest.mark.parametrize("codes", ["residual", "hierarchical"])
def test_eight_devices_are_one_with_several_codebooks(small_config, codes):
    several_codebooks(small_config, codes)
    small_config.model.ema.update({"dead_code_threshold": 0.9, "decay": 0.7})
    assert_eight_devices_are_one(small_config, 3)


@pytest.mark.more
@pytest.mark.parametrize("quantizer", slow_but("ema", RESTARTING))
def test_restarts_happen_in_that_run(busy_config, quantizer):
    """So that the equality above is one of restarts too."""
    busy_config.model.quantizer = quantizer
    _, with_restarts, _ = run(busy_config, devices=1, steps=3)
    busy_config.model[quantizer].dead_code_threshold = 0.0
    _, without, _ = run(busy_config, devices=1, steps=3)
    assert np.any(
        with_restarts.extra["codebook"]["quantizer"]["frequency"] != without.extra["codebook"]["quantizer"]["frequency"]
    )


@pytest.mark.more
def test_pmap_is_shard_map(busy_config):
    _, a, history_a = run(busy_config, "pmap", steps=5)
    _, b, history_b = run(busy_config, "shard_map", steps=5)
    assert_close((a, history_a), (b, history_b), 1e-6)


@pytest.mark.more
def test_a_restarted_code_forgets_its_moments(small_config):
    small_config.model.quantizer = "vq"
    small_config.model.vq.update(
        {"dead_code_threshold": 1.0, "decay": 0.0, "num_codes": 512}
    )  # unused in this batch: restarted
    _, state, history = run(small_config, devices=1, steps=1)
    used = history[0]["code_frequency"] >= 1 / 512
    assert 0 < used.sum() < 512
    moment = jax.tree.leaves(state.opt_state, is_leaf=lambda x: hasattr(x, "mu"))[0].mu["quantizer"]["codebook"]
    assert not np.any(moment[~used]) and np.all(np.any(moment[used], axis=1))


@pytest.mark.more
@pytest.mark.parametrize("parallel", PARALLEL)
def test_evaluation_counts_each_example_once(small_config, tmp_path, parallel):
    """360 images in batches of 16 x 8: the same means as image by image, whatever the padding."""
    test, task = split_of(small_config, "test"), task_of(small_config)
    task.facts = {**task.facts, "variance": 0.1}
    variables = jax.jit(task.init)(jax.random.key(0))
    means = {}
    for batch_size in (128, 360):
        layout, dataset = PARALLEL[parallel](), dataset_of(small_config)
        evaluator = Evaluator(task, dataset, layout, batch_size, tmp_path, layout.replicate(task.frozen))
        means[batch_size] = evaluator.measure(layout.replicate(variables), test)
    assert_close(means[128], means[360], 1e-5)
    pictures = task.images(variables, test.arrays)
    originals, captions, found = pictures["reconstructions"][:3]
    errors = np.mean((np.asarray(originals) - np.asarray(found)) ** 2, axis=(1, 2, 3))
    error = errors.mean()
    assert captions[0] == f"{-10 * np.log10(errors[0]):.1f} dB"
    np.testing.assert_allclose(means[128]["mse"], error, rtol=1e-5)
    np.testing.assert_allclose(means[128]["code_frequency"].sum(), 1, rtol=1e-6)


def test_batch_norm_takes_the_statistics_of_the_global_batch(busy_config):
    """On 8 devices of 2 images each the running mean is that of all 16."""
    _, eight, _ = run(busy_config, devices=8, steps=1)
    _, one, _ = run(busy_config, devices=1, steps=1)
    assert_close(eight.extra["batch_stats"], one.extra["batch_stats"], 1e-5)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(one.extra["batch_stats"]["encoder"]))


@pytest.mark.more
def test_schedules_follow_the_run(small_config, tmp_path):
    small_config.model.quantizer = "gumbel"
    small_config.model.gumbel.temperature.update({"start": 2.0, "end": 0.5, "schedule": "linear", "share": 1.0})
    small_config.log_every = 1
    loop.train(small_config, tmp_path)
    found = [line["temperature"] for line in lines_of(tmp_path / "metrics.jsonl") if line["split"] == "train"]
    np.testing.assert_allclose(found, [2 - 1.5 * step / 6 for step in range(6)], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", CODED)
def test_bfloat16_learns_what_float32_learns(small_config, quantizer):
    """After 500 steps the loss, averaged over the last 100, is within 3 %; the codebook stays float32."""
    small_config.model.quantizer = quantizer
    small_config.steps = 500
    losses = {}
    for dtype in ("float32", "bfloat16"):
        small_config.model.dtype = dtype
        _, state, history = run(small_config, devices=1, steps=500)
        losses[dtype] = np.mean([metrics["loss"] for metrics in history[-100:]])
        assert {leaf.dtype for leaf in jax.tree.leaves(state.variables)} == {np.dtype("float32")}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)
