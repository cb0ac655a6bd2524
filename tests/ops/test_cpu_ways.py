"""The ways of a CPU: the programs that they make, their rounding, and the work that they save."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_on

from vqjax.ops import winograd
from vqjax.ops.argmax import argmax
from vqjax.ops.conv import conv, conv_transpose, conv_valid
from vqjax.ops.matmul import dense

TAPS = [*itertools.product(winograd.TAPS, repeat=2)]
# Kernel and stride; of the last three a CPU's way with many channels is Winograd's.
CONVOLUTIONS = [(conv, k, s) for k, s in ((1, 1), (2, 1), (3, 1), (7, 1), (4, 2), (8, 4))]
TRANSPOSED = [(conv_transpose, 2 * s, s) for s in (2, 4)]


def exported(function, platforms, *shapes, dtype="float32"):
    """The text of a program for these platforms."""
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return jax.export.export(jax.jit(function), platforms=platforms)(*arguments).mlir_module()


@pytest.mark.parametrize("function, option", [(conv, "stride"), (conv_transpose, "lhs_dilat")])
def test_a_program_has_the_convolutions_of_its_platform(function, option):
    """Wherever it is exported: strided ones for a GPU, none for a CPU, and for both a choice."""
    texts = {}
    for platforms in (("cpu",), ("cuda",), ("cpu", "cuda")):
        texts[platforms] = exported(lambda x, w: function(x, w, 2), platforms, (2, 8, 8, 3), (4, 4, 3, 5))
    has_option = {platforms: option in text for platforms, text in texts.items()}
    assert has_option == {("cpu",): False, ("cuda",): True, ("cpu", "cuda"): True}
    assert "stablehlo.case" in texts["cpu", "cuda"]


def test_windows_have_the_way_of_their_platform():
    def text(platform):
        return str(jax.make_jaxpr(as_on(platform, conv_valid))(jnp.zeros((1, 5, 6, 3)), jnp.zeros((2, 3, 3, 4))))

    assert "conv_general_dilated" in text("cuda") and "conv_general_dilated" not in text("cpu")


@pytest.mark.parametrize("_, kernel_size, stride", CONVOLUTIONS)
def test_gradients_have_the_layout_that_is_quick_in_a_loop_too(_, kernel_size, stride):
    """XLA brings other layouts to that one outside loops only."""

    def gradients(x, kernel):
        return jax.grad(lambda *arguments: conv(*arguments, stride).sum(), (0, 1))(x, kernel)

    text = exported(gradients, ["cpu"], (2, 8, 8, 3), (kernel_size, kernel_size, 3, 5))
    layouts = set(re.findall(r"dim_numbers = (.*?), window", text))
    assert layouts <= {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert bool(layouts) == (stride == 1 and kernel_size > 1)


def test_gradients_of_weights_have_positions_as_their_only_sum():
    """Gradients of weights with fewer outputs than inputs are computed transposed."""
    for c, o in ((7, 3), (3, 7)):
        text = exported(jax.grad(lambda x, w: dense(x, w).sum(), 1), ["cpu"], (2, 4, 4, c), (c, o))
        assert ("optimization_barrier" in text) == (c > o)
        assert "contracting_dims = [0, 1, 2]" not in text


@pytest.mark.parametrize("dtype, by_winograd", [("float32", True), ("bfloat16", False)])
@pytest.mark.parametrize(
    "function, kernel_size, stride", [case for case in (*CONVOLUTIONS, *TRANSPOSED) if case[1] // case[2] in (2, 3)]
)
def test_wide_convolutions_are_winograds(function, kernel_size, stride, dtype, by_winograd):
    """One product for each of so many sums; not in bfloat16, which would round the sums to few bits."""
    shapes = (2, 16, 16, 64), (kernel_size, kernel_size, 64, 64)
    text = exported(lambda x, w: function(x, w, stride), ["cpu"], *shapes, dtype=dtype)
    sums = (kernel_size // stride + 1) ** 2
    products = re.findall(rf"dot_general.*batching_dims = \[0\].*tensor<{sums}x", text)
    assert (len(products), "stablehlo.convolution" in text) == (by_winograd, not by_winograd and stride == 1)


@pytest.mark.more
@pytest.mark.parametrize("taps", TAPS)
def test_an_output_of_winograds_depends_on_its_own_window_alone(taps):
    """Its sums share inputs with its neighbor's. An input that only the neighbor sees must not enter by rounding."""
    x, kernel = jax.random.normal(jax.random.key(0), (1, 9, 9, 8)), jax.random.normal(jax.random.key(1), (*taps, 8, 8))
    before = winograd.winograd_conv(x, kernel)
    for i, j in np.ndindex(3, 3):
        after = winograd.winograd_conv(x.at[:, 3 + i, 3 + j].set(1e6), kernel)
        changed = np.argwhere(np.any(np.asarray(before != after), (0, 3)))
        expected = [(3 + i - u, 3 + j - v) for u, v in np.ndindex(*taps)]
        assert sorted(map(tuple, changed)) == sorted(expected)


def test_winograds_loses_no_more_than_the_last_bits():
    """Against float64 its error is below four times that of a plain convolution in float32, and below 1e-5."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 10, 10, 256)), rng.normal(size=(3, 3, 256, 32))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    with jax.enable_x64(True):
        exact = np.asarray(plain(x, kernel))
    error, plain_error = (np.std(f(np.float32(x), np.float32(kernel)) - exact) for f in (winograd.winograd_conv, plain))
    assert error < 4 * plain_error < 1e-5 * np.std(exact)


@pytest.mark.parametrize("taps", TAPS)
def test_winograds_products_are_as_few_as_promised(taps):
    """(m + 1) (n + 1) for 2 x 2 outputs of a filter of m x n taps, where the definition has 4 m n."""
    x, kernel = jax.ShapeDtypeStruct((4, 15 + taps[0], 15 + taps[1], 256), "float32"), (*taps, 256, 256)
    program = jax.jit(winograd.winograd_conv).lower(x, jax.ShapeDtypeStruct(kernel, "float32"))
    products = 4 * 8 * 8 * math.prod(m + 1 for m in taps) * 256 * 256  # of 4 images with 8 x 8 tiles
    definition = 4 * 16 * 16 * math.prod(kernel)
    assert products <= program.compile().cost_analysis()["flops"] / 2 < 1.25 * products < 0.75 * definition


@pytest.mark.parametrize("taps", TAPS)
def test_winograds_is_faster_from_fewer_channels_on_where_tiles_cover_the_grid(taps):
    """Tiles beyond the edge of an odd grid compute outputs for nothing."""

    def fewest_channels(grid):
        return next(c for c in range(1, 999) if winograd.is_faster((*taps, c, c), grid, "float32"))

    assert (
        fewest_channels((16, 16)) == fewest_channels((32, 16)) < fewest_channels((15, 16)) < fewest_channels((15, 15))
    )


def test_what_the_largest_is_sought_in_is_not_computed_inside_the_search():
    """There it would not be vectorized, and take four times as long."""

    def logs_and_reductions(function):
        x = jax.ShapeDtypeStruct((64, 512), jnp.float32)
        text = jax.jit(lambda x: function(jnp.log(x))).lower(x).compile().as_text()
        return any(" log(" in part and " reduce(" in part for part in text.split("\n\n"))

    assert logs_and_reductions(lambda x: jnp.argmax(x, axis=-1))
    assert not logs_and_reductions(argmax)
