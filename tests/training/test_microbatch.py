"""A device's share of a batch in microbatches: the same step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, slow_but
from helpers import assert_close, assert_refused, run, train

from vqjax.training import microbatch


def agree(config, devices=1, steps=4):
    _, whole, history = run(config, devices=devices, steps=steps)
    config.microbatch = 4
    _, state, others = run(config, devices=devices, steps=steps)
    assert_close((state.params, state.extra), (whole.params, whole.extra), 1e-5)
    assert_close(others, history, 1e-5)


@pytest.mark.more
@pytest.mark.parametrize("quantizer", slow_but("ema", CODED))
def test_an_autoencoders_step_is_that_of_the_whole_batch(small_config, quantizer):
    """With restarts, augmentation, and a share that 4 do not divide on 8 devices."""
    small_config.data.update({"flip": True, "crop": 1})
    small_config.model.quantizer = quantizer
    fields = small_config.model[quantizer]
    fields.update({name: value for name, value in (("dead_code_threshold", 0.9), ("decay", 0.7)) if name in fields})
    agree(small_config)


@pytest.mark.slow
def test_a_priors_step_is_that_of_the_whole_batch(prior_config):
    agree(prior_config)


@pytest.mark.slow
def test_microbatches_and_devices_together(small_config):
    """On 2 devices of 8 images, in two microbatches each."""
    agree(small_config, devices=2, steps=2)


def asked_for(size, share, extra=()):
    """The microbatches of a function whose product has 1 MiB for each example, within a jitted call."""
    product = jax.jit(lambda x: jnp.tanh(x) @ jnp.ones((1, 2**18)))
    x = jax.ShapeDtypeStruct((share, 1), jnp.float32)
    return microbatch.num_microbatches(size, share, extra, jax.jit(lambda x: product(x).sum()), (x,))


@pytest.mark.parametrize("size, number", [(1, 12), (4, 3), (5, 3), (12, 1), (64, 1)])
def test_they_are_as_large_as_asked_at_most(size, number):
    assert asked_for(size, 12) == number


@pytest.mark.parametrize("share, number", [(1, 1), (64, 1), (65, 5), (96, 2), (190, 5), (256, 4)])
def test_their_products_take_64_mib_at_most(share, number):
    assert asked_for(0, share) == number
    assert asked_for(0, share, ["batch_stats"]) == 1


def test_an_example_is_not_divided(monkeypatch):
    monkeypatch.setattr(microbatch, "_MAX_BYTES", 2**16)
    assert asked_for(0, 3) == 3


def test_means_and_rows():
    """A mean over the batch is one, and rows stay in their order."""
    batch = {"x": np.arange(12.0, dtype=np.float32).reshape(6, 2)}
    function = jax.jit(lambda batch: microbatch.microbatched(lambda part: (part["x"].mean(0), 2 * part["x"]), batch, 3))
    means, rows = function(batch)
    np.testing.assert_allclose(means, [5, 6])
    np.testing.assert_array_equal(rows, 2 * batch["x"])


def test_batch_norm_takes_no_microbatches(tmp_path):
    result = train(tmp_path / "run", "--config.microbatch=4", "--config.model.deepmind.batch_norm")
    assert_refused(result, "config.microbatch=4", "batch norm")
    assert not (tmp_path / "run").exists()
