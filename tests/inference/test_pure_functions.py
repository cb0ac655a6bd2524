"""`Tokenizer.functions()`: what a program computes with in its own compiled step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, more_but, small_autoencoder
from helpers import task_of
from tiny import vectors_in

import vqjax

pytest_plugins = "inference_fixtures"


@pytest.fixture(scope="module")
def tokenizer(runs):
    return vqjax.Tokenizer.load(runs / "tokenizer")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)


def test_they_are_what_the_methods_compute(tokenizer, images):
    encode, decode, variables = tokenizer.functions()
    codes = encode(variables, images)
    np.testing.assert_array_equal(codes, tokenizer.encode(images))
    np.testing.assert_array_equal(encode(variables, images / np.float32(255)), codes)
    np.testing.assert_array_equal(encode(variables, images[..., 0]), codes)
    np.testing.assert_allclose(decode(variables, codes), tokenizer.decode(codes), atol=1e-6)
    assert tokenizer.functions() is tokenizer.functions()  # whose programs are compiled once


def test_under_jit_and_vmap(tokenizer, images):
    encode, decode, variables = tokenizer.functions()

    @jax.jit
    def reconstruct(variables, images):
        return decode(variables, encode(variables, images))

    expected = tokenizer.reconstruct(images)
    np.testing.assert_allclose(reconstruct(variables, images), expected, atol=1e-6)
    one_by_one = jax.vmap(lambda image: reconstruct(variables, image[None])[0])(images)
    np.testing.assert_allclose(one_by_one, expected, atol=1e-5)
    doubled = jax.tree.map(lambda x: jnp.stack([x, x]), variables)  # as in an ensemble
    np.testing.assert_allclose(jax.vmap(reconstruct, (0, None))(doubled, images)[1], expected, atol=1e-5)


def model_of(quantizer, tmp_path):
    config = small_autoencoder()
    config.model.quantizer = quantizer
    task = task_of(config)
    return vqjax.Tokenizer(tmp_path, task, jax.device_get(jax.jit(task.init)(jax.random.key(0))), 0)


@pytest.mark.parametrize("quantizer", more_but("ema", [*CODED, "none"]))
def test_vectors_are_decoded_to_the_reconstruction(quantizer, tmp_path, images):
    tokenizer = model_of(quantizer, tmp_path)
    encode, decode, variables = tokenizer.functions()
    z, z_q = encode(variables, images, vectors=True)
    assert z.shape == z_q.shape == (6, 4, 4, 8)
    np.testing.assert_allclose(decode(variables, z_q), tokenizer.reconstruct(images), atol=1e-5)
    if tokenizer.num_codes:
        np.testing.assert_allclose(z_q, vectors_in(tokenizer.codebook, tokenizer.encode(images)), atol=1e-5)
    else:
        with pytest.raises(ValueError, match="quantizer='none' has no codes"):
            encode(variables, images)


@pytest.mark.more
def test_gradients_reach_vectors_images_and_parameters(tokenizer, images):
    """Of the loss of a reconstruction, as somebody fine-tunes it; against differences where nothing is rounded."""
    encode, decode, variables = tokenizer.functions()
    z_q = encode(variables, images, vectors=True).z_q
    loss = jax.jit(lambda z_q: jnp.mean((decode(variables, z_q) - images / 255) ** 2))
    gradient = jax.grad(loss)(z_q)
    step = 1e-2 * gradient / jnp.linalg.norm(gradient)
    difference = (loss(z_q + step) - loss(z_q - step)) / 2
    np.testing.assert_allclose(difference, jnp.vdot(gradient, step), rtol=2e-2)

    def reconstruction_loss(params, images):
        changed = {**variables, "params": params}
        return jnp.mean((decode(changed, encode(changed, images, vectors=True).z_q) - 0.5) ** 2)

    pixels = jnp.asarray(images / 255, jnp.float32)  # whole levels: their gradient was zero where they were rounded
    parameters, of_images = jax.jit(jax.grad(reconstruction_loss, (0, 1)))(variables["params"], pixels)
    assert jnp.abs(of_images).max() > 0
    for name in ("encoder", "decoder"):
        assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(parameters[name])) > 0, name


def test_a_step_of_ones_own_lowers_a_loss(tokenizer, images):
    encode, decode, variables = tokenizer.functions()

    @jax.jit
    def loss_of(params):
        changed = {**variables, "params": params}
        return jnp.mean((decode(changed, encode(changed, images, vectors=True).z_q) - images / 255) ** 2)

    params, first = variables["params"], loss_of(variables["params"])
    for _ in range(20):
        params = jax.tree.map(lambda x, g: x - 0.2 * g, params, jax.grad(loss_of)(params))
    assert loss_of(params) < 0.97 * first


@pytest.mark.parametrize(
    "shape, message",
    [
        ((8, 8, 1), r"one image\? images\[None\]"),
        ((2, 8, 8, 3), r"expected \(N, H, W, 1\)"),
        ((2, 7, 8, 1), "images of 7 x 8 pixels: expected multiples of the stride 2"),
    ],
)
def test_shapes_are_checked_where_they_are_traced(tokenizer, shape, message):
    encode, _, variables = tokenizer.functions()
    with pytest.raises(ValueError, match=message):
        jax.jit(encode)(variables, np.zeros(shape, np.float32))
