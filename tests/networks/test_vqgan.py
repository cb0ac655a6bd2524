"""VQGAN's networks; tests/training/test_import_weights_vqgan.py compares them with taming-transformers'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import fake
from helpers import on_one_device, run

from configs import autoencoder
from vqjax.config.check import Section, build
from vqjax.data.datasets import DATASETS
from vqjax.networks import vqgan
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.system.errors import InputError

FIELDS = dict(width=32, multipliers=(1, 2), attention=(1,), blocks=1, latent_width=12, kernel_init="lecun")


def count(network, shape):
    """Its parameters."""
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros(shape), False))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def conv(c, o, k=3):
    return k * k * c * o + o


def residual(c, o):
    return 2 * c + conv(c, o) + 2 * o + conv(o, o) + (conv(c, o, 1) if c != o else 0)


def attention(c):
    return 2 * c + 4 * conv(c, c, 1)


MIDDLE = residual(64, 64) + attention(64) + residual(64, 64)


def test_parameter_counts_by_hand():
    encoder, decoder = ENCODERS["vqgan"](features=5, **FIELDS), DECODERS["vqgan"](features=3, **FIELDS)
    stages = residual(32, 32) + conv(32, 32) + residual(32, 64) + attention(64)
    expected = conv(3, 32) + stages + MIDDLE + 2 * 64 + conv(64, 12) + conv(12, 5, 1)
    assert count(encoder, (1, 8, 12, 3)) == expected
    inner = 2 * (residual(64, 64) + attention(64)) + conv(64, 64)
    expected = conv(5, 12, 1) + conv(12, 64) + MIDDLE + inner + residual(64, 32) + residual(32, 32)
    assert count(decoder, (1, 4, 6, 5)) == expected + 2 * 32 + conv(32, 3)


def test_the_strided_convolution_sees_zeros_below_and_to_the_right_only():
    layer = vqgan.DownConv(4, 3, 2)
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    y, variables = layer.init_with_output(jax.random.key(1), x)
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = np.zeros((2, 3, 4, 4))
    for i, j in np.ndindex(3, 4):
        patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        expected[:, i, j] = np.tensordot(patch, variables["params"]["kernel"], axes=3)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_attention_by_hand():
    """The softmax over all positions, in NumPy, of features that are normalized in 32 groups."""
    block = vqgan.AttentionBlock(64, "lecun", jnp.float32)
    x = 3 * jax.random.normal(jax.random.key(0), (2, 2, 3, 64)) + 1
    y, variables = block.init_with_output(jax.random.key(1), x)
    params = jax.tree.map(np.asarray, variables["params"])
    groups = np.reshape(x, (2, 6, 32, 2))
    mean, variance = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    normed = ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(2, 6, 64)
    query, key, value = (normed @ params[f"Conv_{i}"]["kernel"][0, 0] for i in range(3))
    weights = np.exp(np.einsum("bqc,bkc->bqk", query, key) / 8)
    attended = np.einsum("bqk,bkc->bqc", weights / weights.sum(-1, keepdims=True), value)
    expected = np.asarray(x) + (attended @ params["Conv_3"]["kernel"][0, 0]).reshape(x.shape)
    np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.more
@pytest.mark.parametrize("table", [ENCODERS, DECODERS])
def test_remat_changes_no_parameter_and_no_gradient(table):
    results = []
    for remat in (False, True):
        network = table["vqgan"](features=5, remat=remat, **{**FIELDS, "multipliers": (1,), "attention": (0,)})
        x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
        variables = jax.jit(network.init, static_argnums=2)(jax.random.key(1), x, False)
        loss = lambda variables, x, network=network: jnp.mean(network.apply(variables, x, True) ** 2)  # noqa: E731
        results.append((variables, jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, x)))
    (kept, kept_gradients), (again, gradients) = results
    jax.tree.map(np.testing.assert_array_equal, kept, again)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), kept_gradients, gradients)


@pytest.mark.slow
def test_a_training_step_at_128_pixels(monkeypatch):
    on_one_device(monkeypatch)
    monkeypatch.setitem(DATASETS, "imagenet2012", fake((128, 128, 3), count=2))
    config = autoencoder.get_config()
    config.update({"steps": 2, "batch_size": 1})
    config.data.name = "imagenet2012"
    config.model.encoder = config.model.decoder = "vqgan"
    config.model.vqgan.update(width=32, multipliers=(1, 1, 1, 2), attention=(3,), blocks=1, latent_width=16)
    config.model.ema.update(num_codes=16, kmeans=False)
    state, _, history = run(config, devices=1, steps=2)
    first, second = (float(np.ravel(metrics["loss"])[0]) for metrics in history)
    assert np.isfinite(first) and np.isfinite(second) and int(np.ravel(state.step)[0]) == 2
    assert int(np.ravel(state.skipped)[0]) == 0


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"multipliers": ()}, "config.model.vqgan.multipliers=(): expected 1 to 8 numbers"),
        ({"multipliers": (1,) * 9, "attention": ()}, "expected 1 to 8 numbers"),
        ({"multipliers": (1, 0)}, "config.model.vqgan.multipliers[1]=0: expected at least 1"),
        ({"attention": (5,)}, "config.model.vqgan.attention=(5,): expected numbers of stages, 0 to 4"),
        ({"width": 48}, "config.model.vqgan.width=48: expected a positive multiple of 32"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields, message):
    config = autoencoder.get_config()
    config.model.encoder = "vqgan"
    config.model.vqgan.update(fields)
    with pytest.raises(InputError) as error:
        build(ENCODERS, Section.of(config, "config.model"), "encoder", features=8)
    assert message in str(error.value)
