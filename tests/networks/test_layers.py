"""The layers: weight norm, initializers, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.networks import layers


@pytest.mark.parametrize("layer", [layers.Conv, layers.ConvTranspose])
def test_weight_norm_starts_as_the_plain_layer_and_fixes_the_kernels_norm(layer):
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    plain, normed = (layer(5, 4, 2, weight_norm=flag) for flag in (False, True))
    variables = normed.init(jax.random.key(1), x)
    y = normed.apply(variables, x)
    np.testing.assert_allclose(y, plain.apply(plain.init(jax.random.key(1), x), x), atol=1e-5)
    params = variables["params"]
    assert {name: value.shape for name, value in params.items()} == {
        "kernel": (4, 4, 3, 5),
        "scale": (5,),
        "bias": (5,),
    }
    longer = {"params": {**params, "kernel": 3 * params["kernel"]}}
    np.testing.assert_allclose(normed.apply(longer, x), y, atol=1e-5)
    louder = {"params": {**params, "scale": 3 * params["scale"]}}
    np.testing.assert_allclose(normed.apply(louder, x), 3 * y, atol=1e-5)


@pytest.mark.parametrize("name", layers.INITIALIZERS)
@pytest.mark.parametrize(
    "layer, kernel_size, stride", [(layers.Conv, 3, 1), (layers.Conv, 4, 2), (layers.ConvTranspose, 4, 2)]
)
def test_initializers_keep_the_scale_they_promise(layer, kernel_size, stride, name):
    """Output variance of unit input: lecun 1, kaiming 2, xavier 2 fan_in / (fan_in + fan_out), away from the border."""
    x = jax.random.normal(jax.random.key(0), (32, 16, 16, 64))
    module = layer(32, kernel_size, stride, kernel_init=name)
    y = module.init_with_output(jax.random.key(1), x)[0][:, 2:-2, 2:-2]
    taps = (kernel_size // stride) ** 2 if layer is layers.ConvTranspose else kernel_size**2
    outputs = taps * 32 * stride**2 if layer is layers.ConvTranspose else taps * 32
    expected = {"lecun": 1, "kaiming": 2, "xavier": 2 * taps * 64 / (taps * 64 + outputs)}[name]
    np.testing.assert_allclose(np.var(y), expected, rtol=0.1)


def test_compute_dtype_leaves_parameters_in_float32():
    module = layers.Conv(4, 3, dtype=jnp.bfloat16)
    y, variables = module.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
