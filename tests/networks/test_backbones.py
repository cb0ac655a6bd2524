"""Backbones and heads of classifiers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import small_classifier

from vqjax.config.check import Section, build
from vqjax.networks.backbones import BACKBONES, HEADS, ResNet18, SmallConvNet
from vqjax.networks.layers import dropout
from vqjax.ops.conv import max_pool


def count(module, shape):
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *shape)), False))["params"]
    return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def built(table, path, name, **given):
    config = small_classifier()
    config.model[path] = name
    return build(table, Section.of(config, "config.model"), path, dtype=jnp.float32, **given)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (7, 9, 1), (1, 20, 3)])
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.thinned(3)
def test_images_give_features_or_a_reason(name, shape):
    backbone = built(BACKBONES, "backbone", name)
    (height, width), x = shape[:2], jnp.zeros((2, *shape))
    if backbone.size_error(height, width):
        assert name != "resnet18" and (height % 2 or width % 2)
        return
    features = jax.eval_shape(lambda: backbone.init_with_output(jax.random.key(0), x, False))[0]
    stride = 8 if name == "resnet18" else 2  # rounded up in a ResNet, else down
    grid = (-(-height // 8), -(-width // 8)) if name == "resnet18" else (height // stride, width // stride)
    assert features.shape == (2, *grid, backbone.features) and min(grid) > 0


def test_misfits():
    config = small_classifier()
    config.model.deepmind.stages = 3
    config.model.backbone = "deepmind"
    backbone = build(BACKBONES, Section.of(config, "config.model"), "backbone", dtype=jnp.float32)
    assert backbone.size_error(28, 28) == "the stride 8 does not divide" and backbone.size_error(32, 24) is None
    assert (
        SmallConvNet(4, 3).size_error(8, 7) == "after 3 stages nothing is left of"
        and SmallConvNet(4, 3).size_error(8, 9) is None
    )
    assert ResNet18(4).size_error(1, 1) is None


def test_parameter_counts_by_hand():
    # 3 x 3 convolutions without bias, each with a scale and a shift per channel of batch norm.
    def layer(k, c, o):
        return k * k * c * o + 2 * o

    def stage(c, o):
        first = layer(3, c, o) + layer(3, o, o) + (layer(1, c, o) if c != o else 0)
        return first + 2 * layer(3, o, o)

    by_hand = layer(3, 3, 64) + stage(64, 64) + stage(64, 128) + stage(128, 256) + stage(256, 512)
    assert by_hand == 11_168_832  # ResNet-18 for CIFAR-10 has 11,173,962 with its 5,130 of the linear map
    assert count(ResNet18(64), (32, 32, 3)) == by_hand
    assert count(SmallConvNet(8, 2), (28, 28, 1)) == layer(3, 1, 8) + layer(3, 8, 8) + layer(3, 8, 16) + layer(
        3, 16, 16
    )


def test_max_pool_by_hand():
    x = jnp.asarray([[1, 5, 0], [2, 3, 9], [8, 8, 8]], jnp.float32)[None, :, :, None]
    np.testing.assert_array_equal(max_pool(x), [[[[5]]]])


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (8, 8), (16, 12)])
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.thinned(3)
def test_heads_give_float32_logits_for_any_grid(name, grid):
    head = built(HEADS, "head", name, num_classes=7)
    features = jax.random.normal(jax.random.key(0), (2, *grid, 3))
    logits, _ = head.init_with_output(jax.random.key(1), features, False)
    assert logits.shape == (2, 7) and logits.dtype == jnp.float32


@pytest.mark.parametrize(
    "table, path, name", [(BACKBONES, "backbone", name) for name in BACKBONES] + [(HEADS, "head", "conv")]
)
def test_bfloat16_is_computed_in(table, path, name):
    given = {"num_classes": 5} if table is HEADS else {}
    module, x = built(table, path, name, **given).clone(dtype=jnp.bfloat16), jnp.zeros((2, 8, 8, 3))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), x, False))
    program = jax.make_jaxpr(lambda variables: module.apply(variables, x, False))(variables)
    convolved = [str(e.outvars[0].aval.dtype) for e in program.eqns if e.primitive.name == "conv_general_dilated"]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert "bf16" in str(program) and set(convolved) <= {"bfloat16"}


def test_linear_heads_by_hand():
    features = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)
    for name, flat in (("pooled", features.mean((1, 2))), ("flattened", features.reshape(2, -1))):
        head = built(HEADS, "head", name, num_classes=5)
        logits, variables = head.init_with_output(jax.random.key(1), features, False)
        np.testing.assert_allclose(logits, flat @ variables["params"]["Dense_0"]["kernel"], rtol=1e-4, atol=1e-6)


@pytest.mark.more
@pytest.mark.parametrize("name", HEADS)
def test_a_heads_dropout_is_an_examples_own(name):
    """The same key gives the same logits wherever the example stands; another key, or none, others."""
    head = built(HEADS, "head", name, num_classes=5)
    if name == "conv":
        head = head.clone(layers=1)
    features = jnp.ones((3, 4, 4, 32))
    variables = head.init(jax.random.key(1), features, False)
    keys = jax.random.split(jax.random.key(2), 3)[np.array([0, 1, 0])]
    logits = head.apply(variables, features, False, keys)
    np.testing.assert_array_equal(logits[0], logits[2])
    assert np.any(logits[0] != logits[1]) and np.any(logits[0] != head.apply(variables, features, False)[0])


def test_dropout_keeps_the_mean():
    keys = jax.random.split(jax.random.key(0), 1000)
    dropped = dropout(jnp.ones((1000, 50)), 0.3, keys)
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.7], rtol=1e-6)
    assert abs(float(dropped.mean()) - 1) < 0.02
    np.testing.assert_array_equal(dropout(dropped, 0.3, None), dropped)
    np.testing.assert_array_equal(dropout(dropped, 0.0, keys), dropped)
