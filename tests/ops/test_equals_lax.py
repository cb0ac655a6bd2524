"""Every operation and its gradients equal plain lax, by the way of a CPU and by the default way.

The numbers are whole and small, so that float32 adds them exactly in any order, and Winograd's quarters too: the
results must be those of lax in float64.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import as_on

from vqjax.ops import winograd
from vqjax.ops.argmax import argmax
from vqjax.ops.conv import conv, conv_transpose, conv_valid, max_pool
from vqjax.ops.matmul import Dense, dense, matmul
from vqjax.ops.search import code_means, nearest_codes
from vqjax.ops.select import select_tree

WAYS = ("cpu", "cuda")

# Kernel, stride, then the batch: one row, odd sizes, few channels, and so many channels that a CPU uses Winograd's way.
CONVOLUTIONS = [
    (1, 1, (2, 12, 7, 3), 5),
    (1, 2, (1, 5, 4, 3), 2),
    (2, 1, (2, 12, 24, 3), 5),
    (3, 1, (2, 7, 9, 3), 5),
    (3, 1, (1, 1, 9, 2), 1),
    (3, 1, (1, 15, 16, 64), 64),
    (3, 2, (2, 7, 9, 3), 4),
    (3, 2, (1, 1, 8, 3), 4),
    (4, 2, (2, 12, 24, 3), 5),
    (4, 2, (1, 2, 10, 1), 3),
    (4, 2, (1, 30, 32, 64), 32),
    (6, 3, (2, 12, 24, 3), 5),
    (7, 1, (1, 9, 5, 3), 2),
    (8, 4, (2, 12, 24, 3), 5),
    (8, 4, (1, 32, 28, 16), 64),
]
TRANSPOSED = [  # stride, batch, channels
    (2, (2, 12, 7, 3), 5),
    (2, (1, 1, 5, 2), 1),
    (2, (1, 9, 10, 64), 64),
    (4, (2, 3, 5, 3), 5),
    (4, (1, 8, 7, 64), 16),
    (6, (1, 2, 3, 2), 3),
]
WINDOWS = [  # kernel, grid of outputs, channels
    ((3, 7), (2, 5, 6, 3), 4),
    ((2, 3), (1, 1, 5, 3), 4),
    ((1, 3), (2, 4, 1, 5), 2),
    ((1, 2), (1, 3, 3, 2), 2),
    ((2, 3), (1, 9, 11, 64), 128),
    ((3, 3), (1, 14, 17, 64), 64),
]
# Positions, codes, D: in one array; one block of either, one more and one less; several blocks; tiles.
SEARCHES = [(50, 11, 7), (1, 1, 3), (2_048, 512, 16), (527, 2_047, 3), (528, 2_048, 3), (529, 2_049, 3)]
SEARCHES += [(100, 5_001, 3), (600, 20_003, 5), (1_111, 2_049, 40), (10_000, 30, 1)]


class Case(NamedTuple):
    """An operation, the same in plain lax, and their arguments: trees of shapes, or of arrays where any will not do."""

    name: str
    operation: Callable
    plain: Callable
    arguments: tuple


def shape(*sizes: int) -> Any:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def lax_conv(x, kernel, stride=1, pad=0):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((pad, pad),) * 2, dimension_numbers=layout)


def lax_conv_transpose(x, kernel, stride=1, cut=0):
    """The transpose of a convolution that pads by `cut`: (B, H, W, C) -> (B, s (H - 1) + m - 2 cut, ..., O)."""
    (b, *grid, _), (*taps, _, o) = x.shape, kernel.shape
    sizes = [stride * (size - 1) + m - 2 * cut for size, m in zip(grid, taps)]
    forward = functools.partial(lax_conv, kernel=kernel.swapaxes(2, 3), stride=stride, pad=cut)
    return jax.linear_transpose(forward, jax.ShapeDtypeStruct((b, *sizes, o), x.dtype))(x)[0]


def convolutions():
    for k, s, (b, h, w, c), o in CONVOLUTIONS:
        plain = functools.partial(lax_conv, stride=s, pad=(k - s + 1) // 2)
        operation = functools.partial(conv, stride=s)
        way = ", winograd" * (
            k % s == 0 and winograd.is_faster((k // s, k // s, s * s * c, o), (h // s, w // s), "float32")
        )
        yield Case(f"conv {k} by {s}{way}", operation, plain, (shape(b, h, w, c), shape(k, k, c, o)))
    for s, (b, h, w, c), o in TRANSPOSED:
        plain = functools.partial(lax_conv_transpose, stride=s, cut=s // 2)
        operation = functools.partial(conv_transpose, stride=s)
        way = ", winograd" * winograd.is_faster((2, 2, c, s * s * o), (h, w), "float32")
        yield Case(f"conv_transpose by {s}{way}", operation, plain, (shape(b, h, w, c), shape(2 * s, 2 * s, c, o)))
    for (m, n), (b, h, w, c), o in WINDOWS:
        way = ", winograd" * winograd.is_faster((m, n, c, o), (h, w), "float32")
        arguments = shape(b, h + m - 1, w + n - 1, c), shape(m, n, c, o)
        yield Case(f"conv_valid {m} x {n}{way}", conv_valid, lax_conv, arguments)
    for m, n, (h, w) in ((m, n, grid) for m in winograd.TAPS for n in winograd.TAPS for grid in ((5, 4), (2, 7))):
        large, small, kernel = shape(2, h + m - 1, w + n - 1, 3), shape(2, h, w, 3), shape(m, n, 3, 4)
        yield Case(f"winograd_conv {m} x {n}", winograd.winograd_conv, lax_conv, (large, kernel))
        transposed = winograd.winograd_conv_transpose
        yield Case(f"winograd_conv_transpose {m} x {n}", transposed, lax_conv_transpose, (small, kernel))


def products():
    for axes in ((), (5,), (2, 3, 4)):
        for features in (3, 11):  # fewer and more than the 7 that come in
            for precision in (None, jax.lax.Precision.HIGHEST):
                operation = functools.partial(dense, precision=precision)
                yield Case(f"dense to {features}", operation, jnp.matmul, (shape(*axes, 7), shape(7, features)))
    for c, o in ((7, 3), (3, 7), (7, 7), (1, 1)):
        yield Case(f"matmul {c} to {o}", matmul, jnp.matmul, (shape(4, 5, c), shape(4, c, o)))


def pooling():
    def plain(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    for sizes in ((2, 7, 9, 3), (1, 2, 2, 1), (1, 8, 4, 5)):
        distinct = np.random.default_rng(0).permutation(np.prod(sizes)).reshape(sizes)
        yield Case(f"max_pool {sizes}", max_pool, plain, (distinct,))


def means():
    for num_codes, sizes in ((7, (20, 30)), (20_000, (20, 30)), (3, (1,)), (1, (9,))):
        codes = np.random.default_rng(1).integers(0, num_codes, sizes)
        shares = np.bincount(codes.reshape(-1), minlength=num_codes) / codes.size

        def plain(z, codes=codes, shares=shares):
            total = jax.ops.segment_sum(z.reshape(codes.size, -1), codes.reshape(-1), len(shares))
            return jnp.asarray(shares), total / codes.size

        operation = functools.partial(code_means, codes, num_codes=num_codes)
        yield Case(f"code_means of {num_codes}", operation, plain, (shape(*sizes, 2),))


def selections():
    tree = {"kernel": shape(3, 5), "bias": [shape(5), shape()]}
    for choice in (True, False):
        operation = functools.partial(select_tree, jnp.asarray(choice))
        plain = functools.partial(jax.tree.map, lambda new, old, choice=choice: jnp.where(choice, new, old))
        yield Case(f"select_tree {choice}", operation, plain, (tree, tree))


CASES = [*convolutions(), *products(), *pooling(), *means(), *selections()]


def value_and_gradients(function, arguments, dy):
    y, pull = jax.vjp(function, *arguments)
    return y, pull(jax.tree.map(lambda y, dy: dy.astype(y.dtype), y, dy))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_values_and_gradients_are_those_of_lax(case, way):
    rng = np.random.default_rng(0)

    def whole(x):
        return np.float32(x) if isinstance(x, np.ndarray) else rng.integers(-3, 4, x.shape).astype(np.float32)

    arguments = jax.tree.map(whole, case.arguments)
    dy = jax.tree.map(whole, jax.eval_shape(case.plain, *arguments))
    program = jax.jit(as_on(way, functools.partial(value_and_gradients, case.operation)))
    with jax.enable_x64(True):
        exact = jax.tree.map(np.float64, (arguments, dy))
        expected = jax.tree.map(np.asarray, value_and_gradients(case.plain, *exact))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), program(arguments, dy), expected)


def test_the_table_has_wide_and_narrow_cases_of_every_convolution():
    """The wide ones are Winograd's on a CPU."""
    names = {name for name in ("conv", "conv_transpose", "conv_valid")}
    assert names <= {case.name.split()[0] for case in CASES if case.name.endswith(", winograd")}
    assert names <= {case.name.split()[0] for case in CASES if not case.name.endswith(", winograd")}


@pytest.mark.more
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SEARCHES)
def test_the_nearest_code_is_argmins(size, way):
    """The first of equally near codes wins: of whole numbers many are equal, and many positions lie between two."""
    rng, (count, num_codes, dim) = np.random.default_rng(0), size
    z, codebook = (rng.integers(-3, 4, (rows, dim)).astype(np.float32) for rows in (count, num_codes))
    distances = (codebook**2).sum(1) - 2 * z @ codebook.T
    search = jax.jit(as_on(way, nearest_codes))
    codes = search(z, codebook)
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, distances.argmin(1))
    assert not np.any(search(z, np.ones_like(codebook)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(7,), (1, 1), (3, 4, 33)])
def test_the_largest_number_is_argmaxs(shape, way):
    """The first of equals wins, and -inf is a number like any other."""
    x = np.random.default_rng(0).integers(-2, 2, shape).astype(np.float32)
    x[x == -2] = -np.inf
    places = jax.jit(as_on(way, argmax))
    assert places(x).dtype == jnp.int32
    np.testing.assert_array_equal(places(x), x.argmax(-1))
    assert not np.any(places(np.full_like(x, -np.inf)))


def test_dense_is_flaxs():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5))
    ours, plain = (module(4).init_with_output(jax.random.key(1), x) for module in (Dense, nn.Dense))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, plain)
