"""Codes of length 1, and of few numbers by a projection (Yu et al. 2021)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import small_autoencoder
from helpers import task_of
from quantizing import built, update

from vqjax.quantizers import EMA, VQ, SimVQ
from vqjax.system.errors import InputError

KINDS = [VQ, EMA, SimVQ]
RESTARTING = [VQ, EMA]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def made(kind, **fields):
    """A quantizer of 6 numbers with 12 codes of 3, its variables, and vectors (50, 6) of many lengths."""
    quantizer = kind(code_dim=6, num_codes=12, cosine=True, projection=3).copy(**fields)
    z = jax.random.normal(jax.random.key(0), (50, 6)) * jnp.exp(jax.random.normal(jax.random.key(1), (50, 1)))
    return quantizer, quantizer.init(jax.random.key(2), z, False), z


def projected(variables, z):
    """What is compared with the codes, in float64."""
    layer = variables["params"]["projection"]
    return unit(np.float64(z) @ np.float64(layer["kernel"]) + np.float64(layer["bias"]))


def codebook_of(quantizer, variables):
    return np.asarray(quantizer.apply(variables, method="codebook"))


@pytest.mark.more
@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_is_the_code_of_the_largest_dot_product(kind):
    quantizer, variables, z = made(kind)
    codebook, x = codebook_of(quantizer, variables), projected(variables, z)
    assert quantizer.vector_dim == 3 and codebook.shape == (12, 3)
    np.testing.assert_allclose(np.linalg.norm(codebook, axis=1), 1, rtol=1e-6)
    quantized = quantizer.apply(variables, z, False)
    np.testing.assert_array_equal(quantized.codes, np.argmax(x @ codebook.T, axis=1))
    np.testing.assert_allclose(quantized.z_q, codebook[quantized.codes], atol=1e-6)
    np.testing.assert_allclose(quantizer.apply(variables, np.arange(12), method="lookup"), codebook, atol=1e-7)
    error = np.mean((x - codebook[quantized.codes]) ** 2)
    np.testing.assert_allclose(quantized.metrics["commitment_loss"], error, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, error if kind is EMA else 2 * error, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_do_not_matter_and_have_no_gradient(kind):
    """Without a projection, so that the vectors themselves are normalized."""
    quantizer, variables, z = made(kind, projection=0)

    def objective(z):
        quantized = quantizer.apply(variables, z, False)
        return jnp.sum(quantized.z_q**3) + quantized.loss

    gradient = jax.grad(objective)(z)
    np.testing.assert_allclose(jnp.sum(gradient * z, axis=1), 0, atol=1e-5)
    assert np.abs(gradient).max() > 1e-2 and np.isfinite(jax.grad(objective)(0 * z)).all()
    codes, of_longer = (quantizer.apply(variables, x, False).codes for x in (z, 7 * z))
    np.testing.assert_array_equal(codes, of_longer)


@pytest.mark.more
@pytest.mark.parametrize("kind", RESTARTING)
def test_codes_have_length_1_after_each_step(kind):
    """After the start from k-means, each update, and each restart."""
    quantizer, variables, _ = made(kind, decay=0.5, dead_code_threshold=0.9)
    vectors = np.asarray(jax.random.normal(jax.random.key(3), (200, 6)))
    variables = quantizer.apply(variables, vectors, 0, method="initialize", mutable=True)[1]
    np.testing.assert_allclose(np.linalg.norm(codebook_of(quantizer, variables), axis=1), 1, rtol=1e-6)
    optimizer = optax.adam(1e-2)
    state, restarted = optimizer.init(variables["params"]), 0
    for step in range(20):
        z = 10 * jax.random.normal(jax.random.key(step), (512, 6))

        def loss_of(params, variables=variables, z=z):
            quantized, extra = quantizer.apply({**variables, "params": params}, z, True, mutable=["codebook"])
            return quantized.loss + jnp.sum(quantized.z_q[:, 0]), extra

        gradient, extra = jax.grad(loss_of, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradient, state)
        variables = {"params": optax.apply_updates(variables["params"], updates), **extra}
        before = codebook_of(quantizer, variables)
        variables = update(quantizer, variables, z, jax.random.key(step))
        after = codebook_of(quantizer, variables)
        np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, rtol=1e-6)
        new = after[np.abs(after - before).max(1) > 1e-3]
        assert all(np.abs(projected(variables, z) - code).max(1).min() < 1e-5 for code in new)
        restarted += len(new)
    assert restarted > 20


@pytest.mark.parametrize("kind", RESTARTING)
def test_kmeans_starts_on_directions(kind):
    """Three directions with vectors of lengths from 0.1 to 10."""
    quantizer = kind(code_dim=2, num_codes=3, cosine=True)
    angles = np.array([0.0, 2.0, 4.0])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rng = np.random.default_rng(0)
    vectors = directions.repeat(40, 0) + 0.01 * rng.normal(size=(120, 2))
    vectors = np.float32(vectors * 10 ** rng.uniform(-1, 1, (120, 1)))
    variables = quantizer.init(jax.random.key(0), vectors, False)
    variables = quantizer.apply(variables, vectors, 0, method="initialize", mutable=True)[1]
    found = codebook_of(quantizer, variables)
    found = found[np.argsort(np.arctan2(found[:, 1], found[:, 0]) % 6.28)]
    np.testing.assert_allclose(found, directions, atol=0.02)


class Small(nn.Module):
    """An autoencoder of 8 numbers."""

    quantizer: nn.Module

    def setup(self):
        self.encoder = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(16)])
        self.decoder = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(8)])

    def __call__(self, x):
        z = self.encoder(x)
        quantized = self.quantizer(z, True)
        return self.decoder(quantized.z_q), z, quantized.loss

    def initialize(self, x):
        self.quantizer.initialize(self.encoder(x), 0)

    def after_update(self, z, key):
        self.quantizer.after_update(z, lambda x: x, key)


def trained(quantizer, steps):
    """The mean length of the encoder's vectors and the mean squared error of each step."""
    rng = np.random.default_rng(0)
    data = np.float32(np.tanh(rng.normal(size=(2_048, 3)) @ rng.normal(size=(3, 8))))
    model, optimizer = Small(quantizer), optax.adam(1e-3)
    variables = model.init(jax.random.key(0), data[:2])
    variables = model.apply(variables, data, method="initialize", mutable=True)[1]

    def step(carry, key):
        variables, moments = carry
        x = jax.random.choice(key, jnp.asarray(data), (64,))

        def loss_of(params):
            (y, z, loss), extra = model.apply({**variables, "params": params}, x, mutable=["codebook"])
            mse = jnp.mean((y - x) ** 2)
            return mse + loss, (z, extra, mse)

        gradient, (z, extra, mse) = jax.grad(loss_of, has_aux=True)(variables["params"])
        updates, moments = optimizer.update(gradient, moments)
        params = optax.apply_updates(variables["params"], updates)
        variables = model.apply({"params": params, **extra}, z, key, method="after_update", mutable=True)[1]
        return (variables, moments), (jnp.linalg.norm(z, axis=1).mean(), mse)

    keys = jax.random.split(jax.random.key(1), steps)
    start = variables, optimizer.init(variables["params"])
    return map(np.asarray, jax.jit(lambda start: jax.lax.scan(step, start, keys)[1])(start))


@pytest.mark.more
@pytest.mark.parametrize("fields", [{"projection": 4}, {}, {"projection": 4, "gradient": "rotation"}])
def test_the_encoders_vectors_do_not_grow(fields):
    """Over 2,000 steps with EMA, where the gradient says nothing of their length."""
    lengths, errors = trained(EMA(code_dim=16, num_codes=64, cosine=True, **fields), 2_000)
    assert lengths.max() < 2 * lengths[0] and errors[-100:].mean() < errors[0] / 10


def test_the_decoder_and_a_second_stage_see_the_projection():
    config = small_autoencoder()
    config.model.ema.update({"cosine": True, "projection": 3})
    task = task_of(config)
    variables = jax.jit(task.init)(jax.random.key(0))
    assert variables["params"]["decoder"]["Conv_0"]["kernel"].shape[-2] == task.module.quantizer.vector_dim == 3
    assert variables["params"]["encoder"]["Conv_3"]["kernel"].shape[-1] == config.model.code_dim == 8
    grid = task.layout.single.grid
    codes = np.zeros((2, *grid), np.int32)
    assert task.lookup(variables, codes).shape == (2, *grid, 3)
    assert task.decode(variables, codes).shape == (2, 8, 8, 1)


def test_directions_of_one_number_are_refused():
    with pytest.raises(InputError, match="config.model.vq.cosine=True: expected vectors of 2 numbers or more"):
        built("vq", cosine=True, projection=1)
    assert built("vq", projection=1).vector_dim == 1


@pytest.mark.parametrize("name", ["vq", "ema", "simvq"])
def test_more_codes_than_the_memory_holds_are_refused_in_a_line(name):
    """And a projection brings them back into it."""
    wide, message = {"code_dim": 2**16}, rf"^config.model.{name}.num_codes=262144: 65,536 numbers each take \d+ GiB"
    with pytest.raises(InputError, match=message):
        built(name, wide, num_codes=2**18)
    assert built(name, wide, num_codes=2**18, projection=8).vector_dim == 8
