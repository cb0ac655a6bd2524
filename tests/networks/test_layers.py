import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_on, filter_narrow

from vqjax.networks import layers


def direct_conv(x, kernel, stride):
    """The definition, in NumPy: zero padding (k - s + 1) // 2, one output position at a time."""
    k, _, _, o = kernel.shape
    pad = (k - stride + 1) // 2
    b, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    y = np.zeros((b, *((size + 2 * pad - k) // stride + 1 for size in (h, w)), o))
    for i, j in np.ndindex(y.shape[1:3]):
        patch = padded[:, i * stride : i * stride + k, j * stride : j * stride + k]
        y[:, i, j] = np.tensordot(patch, kernel, axes=3)
    return y


def direct_conv_transpose(x, kernel, stride):
    """The definition, in NumPy: every input position adds its k x k patch, then s / 2 is cut off all round."""
    k, _, _, o = kernel.shape
    b, h, w, _ = x.shape
    y = np.zeros((b, (h - 1) * stride + k, (w - 1) * stride + k, o))
    for i in range(h):
        for j in range(w):
            patch = np.einsum("bc,uvco->buvo", x[:, i, j], kernel)
            y[:, i * stride : i * stride + k, j * stride : j * stride + k] += patch
    cut = stride // 2
    return y[:, cut:-cut, cut:-cut]


CASES = [(layers.conv, direct_conv, k, s) for k, s in ((1, 1), (2, 1), (3, 1), (4, 2), (7, 1), (8, 4))]
CASES += [(layers.conv_transpose, direct_conv_transpose, 2 * s, s) for s in (2, 4)]


@pytest.mark.parametrize("program", ["cpu", "cpu, filtered", "cuda"])
@pytest.mark.parametrize("function, direct, kernel_size, stride", [*CASES, (layers.conv, direct_conv, 6, 3)])
@pytest.mark.thinned(2)
def test_convolutions_and_their_gradients_are_the_definition(
    monkeypatch, program, function, direct, kernel_size, stride
):
    as_on(monkeypatch, program.split(",")[0])
    if "filtered" in program:
        filter_narrow(monkeypatch)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 12, 24, 3)), rng.normal(size=(kernel_size, kernel_size, 3, 5))
    y, pull = jax.vjp(lambda *a: function(*a, stride), jnp.float32(x), jnp.float32(kernel))
    np.testing.assert_allclose(y, direct(x, kernel, stride), atol=1e-4)
    # Both maps are bilinear, so <g, f(dx, k)> = <f*_x(g), dx>, and likewise in k.
    g, dx, dk = rng.normal(size=y.shape), rng.normal(size=x.shape), rng.normal(size=kernel.shape)
    grad_x, grad_kernel = pull(jnp.float32(g))
    np.testing.assert_allclose(np.sum(grad_x * dx), np.sum(g * direct(dx, kernel, stride)), rtol=1e-4)
    np.testing.assert_allclose(np.sum(grad_kernel * dk), np.sum(g * direct(x, dk, stride)), rtol=1e-4)


@pytest.mark.parametrize("function, option", [(layers.conv, "stride"), (layers.conv_transpose, "lhs_dilat")])
def test_a_program_has_the_convolutions_of_its_platform(function, option):
    """Wherever it is lowered: strided ones on a GPU, none on a CPU, in one for both a choice."""
    arguments = jnp.zeros((2, 8, 8, 3)), jnp.zeros((4, 4, 3, 5))
    program, texts = jax.jit(lambda *given: function(*given, 2)), {}
    for platforms in (("cpu",), ("cuda",), ("cpu", "cuda")):
        texts[platforms] = jax.export.export(program, platforms=platforms)(*arguments).mlir_module()
    found = {platforms: option in text for platforms, text in texts.items()}
    assert found == {("cpu",): False, ("cuda",): True, ("cpu", "cuda"): True}
    assert "stablehlo.case" in texts["cpu", "cuda"]


@pytest.mark.parametrize("kernel_size, stride", [(k, s) for f, _, k, s in CASES if f is layers.conv])
def test_gradients_on_a_cpu_have_the_layout_that_is_quick_in_a_loop_too(kernel_size, stride):
    """XLA brings other layouts to that one only outside loops."""

    def gradients(x, kernel):
        return jax.grad(lambda *a: layers.conv(*a, stride).sum(), (0, 1))(x, kernel)

    arguments = jnp.zeros((2, 8, 8, 3)), jnp.zeros((kernel_size, kernel_size, 3, 5))
    text = jax.export.export(jax.jit(gradients), platforms=["cpu"])(*arguments).mlir_module()
    found = set(re.findall(r"dim_numbers = (.*?), window", text))
    assert found <= {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert bool(found) == (stride == 1 and kernel_size > 1)


@pytest.mark.parametrize("dtype, filtered", [("float32", True), ("bfloat16", False)])
@pytest.mark.parametrize(
    "function, kernel_size, stride", [(f, k, s) for f, _, k, s in CASES if k // s in (2, 3) and k > 1]
)
def test_wide_convolutions_on_a_cpu_are_filtered(function, kernel_size, stride, dtype, filtered):
    """By their products, one for each of so many sums; not where the sums would be rounded to few bits."""
    arguments = jnp.zeros((2, 16, 16, 64), dtype), jnp.zeros((kernel_size, kernel_size, 64, 64), dtype)
    text = jax.export.export(jax.jit(lambda *a: function(*a, stride)), platforms=["cpu"])(*arguments).mlir_module()
    sums = (kernel_size // stride + 1) ** 2
    products = re.findall(rf"dot_general.*batching_dims = \[0\].*tensor<{sums}x", text)
    assert (len(products), "stablehlo.convolution" in text) == (filtered, not filtered and stride == 1)


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
