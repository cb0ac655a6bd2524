"""Winograd's minimal filtering for CPUs: convolutions from fewer products.

Winograd 1980, "Arithmetic Complexity of Computations"; for networks Lavin & Gray 2016, arXiv 1509.09308, sec. 4.1.

Along an axis, F(2, m) computes two outputs of a filter of m taps from m + 1 products, not 2 m. It multiplies sums of
the m + 1 inputs of a tile by sums of the taps, and adds the products. In both directions a 3 x 3 kernel takes 16
products for 2 x 2 outputs instead of 36, a 2 x 2 one 9 instead of 16. Each of these is a product of matrices, over all
tiles and channels. The sums have few terms, with weights of 1 and 1 / 2: only the last bits of float32 differ.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.matmul import matmul

# y = outputs ((filters g) * (tiles d)) for d[0], ..., d[m] the inputs of two outputs, and g the m taps.
_TILES = {2: ((1, -1, 0), (0, 1, 0), (0, -1, 1)), 3: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))}
_FILTERS = {2: ((1, 0), (1, 1), (0, 1)), 3: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))}
_OUTPUTS = {2: ((1, 1, 0), (0, 1, 1)), 3: ((1, 1, 1, 0), (0, 1, -1, -1))}
TAPS = tuple(_TILES)  # sizes of kernels, along an axis
# Measured on 2 cores, on grids of more than one row:
_PRODUCTS_PER_SUM = 20  # products that must be saved for each sum; products grow with C O, sums with C + O
_MIN_MULTIPLICATIONS = 750_000  # per image; with fewer it takes longer to compile than it saves

_Taps = tuple[int, ...]  # of a kernel, down and across


def is_faster(shape: Sequence[int], grid: Sequence[int], dtype: jax.typing.DTypeLike) -> bool:
    """Return whether a CPU is faster by minimal filtering for a kernel (m, n, C, O) and a grid (h, w) of outputs.

    It is for float32 alone: the sums would lose too much in the rounding of shorter types.
    """
    taps, (c, o) = shape[:2], shape[2:]
    products = math.prod(taps) * math.prod(grid)  # for each pair of channels
    winograd_products = math.prod(m + 1 for m in taps) * math.prod(-(-size // 2) for size in grid)
    possible = set(taps) <= set(TAPS) and min(grid) > 1 and jnp.dtype(dtype) == jnp.float32
    saved, sums = (products - winograd_products) * c * o, winograd_products * (c + o)
    return possible and saved >= _PRODUCTS_PER_SUM * sums and products * c * o >= _MIN_MULTIPLICATIONS


def winograd_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve without padding: (B, h + m - 1, w + n - 1, C), (m, n, C, O) -> (B, h, w, O), for m and n in TAPS."""
    taps = kernel.shape[:2]
    h, w = (size - m + 1 for size, m in zip(x.shape[1:], taps))
    sums = _tile_sums(_pad_to(x, [2 * -(-size // 2) + 2 for size in (h, w)]), taps)
    return _outputs(_products(sums, kernel), taps)[:, :h, :w]


def winograd_conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Add the patch of each input, the transpose of `winograd_conv`: (B, h, w, C) -> (B, h + m - 1, w + n - 1, O)."""
    taps = kernel.shape[:2]
    h, w = x.shape[1:3]
    sums = _outputs_transposed(_pad_to(x, [2 * -(-size // 2) for size in (h, w)]), taps)
    return _add_tiles(_products(sums, kernel), taps)[:, : h + taps[0] - 1, : w + taps[1] - 1]


def _pad_to(x: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """Append zeros to (B, ..., C), so that the axes between have these sizes."""
    return jnp.pad(x, ((0, 0), *((0, size - current) for size, current in zip(sizes, x.shape[1:])), (0, 0)))


def _products(sums: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply each sum by its filter: ((n + 1) (m + 1), B, h, w, C), (m, n, C, O) -> ((n + 1) (m + 1), B, h, w, O)."""
    m, n, c, o = kernel.shape
    filters = jnp.matmul(_matrix(_FILTERS, (m, n)), kernel.swapaxes(0, 1).reshape(n * m, c * o))
    products = matmul(sums.reshape(len(sums), -1, c), filters.reshape(-1, c, o))
    return products.reshape(*sums.shape[:-1], o)


def _matrix(matrices: Mapping[int, Sequence[Sequence[float]]], taps: _Taps) -> np.ndarray:
    """Kronecker product of the matrices of both directions, across first."""
    down, across = (np.asarray(matrices[m], np.float32) for m in taps)
    return np.kron(across, down)


def _outputs(products: jax.Array, taps: _Taps) -> jax.Array:
    """Sum the products of each tile: ((n + 1) (m + 1), B, h, w, O) -> (B, 2 h, 2 w, O)."""
    _, b, h, w, o = products.shape
    y = jnp.matmul(_matrix(_OUTPUTS, taps), products.reshape(len(products), -1)).reshape(2, 2, b, h, w, o)
    return y.transpose(2, 3, 1, 4, 0, 5).reshape(b, 2 * h, 2 * w, o)


def _outputs_transposed(y: jax.Array, taps: _Taps) -> jax.Array:
    """Apply the transpose of `_outputs`: (B, 2 h, 2 w, O) -> ((n + 1) (m + 1), B, h, w, O)."""
    b, h, w, o = y.shape
    tiles = y.reshape(b, h // 2, 2, w // 2, 2, o).transpose(4, 2, 0, 1, 3, 5)
    return jnp.matmul(_matrix(_OUTPUTS, taps).T, tiles.reshape(4, -1)).reshape(-1, *tiles.shape[2:])


def _signed_sums(matrix: Sequence[Sequence[float]], terms: Sequence[jax.Array]) -> list[jax.Array]:
    """Multiply a matrix of -1, 0 and 1 by the terms. Written as sums, XLA computes it in one pass."""
    sums = []
    for row in matrix:
        signed = [term if factor > 0 else -term for factor, term in zip(row, terms) if factor]
        sums.append(functools.reduce(jnp.add, signed))
    return sums


def _sum_tiles(x: jax.Array, taps: _Taps) -> jax.Array:
    """Sum the inputs of each tile: (B, 2 h + 2, 2 w + 2, C) -> ((n + 1) (m + 1), B, h, w, C)."""
    for axis, m in ((1, taps[0]), (3, taps[1])):  # the second axis stands behind the sums of the first
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        count = pairs.shape[axis] - 1
        inputs = [
            jax.lax.index_in_dim(
                jax.lax.slice_in_dim(pairs, i // 2, i // 2 + count, axis=axis), i % 2, axis + 1, keepdims=False
            )
            for i in range(m + 1)
        ]
        x = jnp.stack(_signed_sums(_TILES[m], inputs))
    return x.reshape(-1, *x.shape[2:])


def _sum_tiles_transposed(sums: jax.Array, taps: _Taps) -> jax.Array:
    """Apply the transpose of `_sum_tiles`, which adds tiles where they overlap."""
    x = sums.reshape(taps[1] + 1, taps[0] + 1, *sums.shape[1:])
    for axis, m in ((3, taps[1]), (1, taps[0])):
        pairs: list[Any] = [0, 0]
        for i, term in enumerate(_signed_sums(tuple(zip(*_TILES[m])), list(x))):
            padding = [(0, 0)] * term.ndim
            padding[axis] = (i // 2, 1 - i // 2)  # the first two inputs of a tile are the last two of the one before
            pairs[i % 2] += jnp.pad(term, padding)
        x = jnp.stack(pairs, axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x


# Each is the other's gradient: XLA's own transposes take three times as long.
_tile_sums = jax.custom_vjp(_sum_tiles, nondiff_argnums=(1,))
_add_tiles = jax.custom_vjp(_sum_tiles_transposed, nondiff_argnums=(1,))
_tile_sums.defvjp(lambda x, taps: (_sum_tiles(x, taps), None), lambda taps, _, dy: (_add_tiles(dy, taps),))
_add_tiles.defvjp(lambda x, taps: (_sum_tiles_transposed(x, taps), None), lambda taps, _, dy: (_tile_sums(dy, taps),))
