"""Convolutions by minimal filtering, for CPUs: the same sums from fewer products (Winograd 1980, "Arithmetic Complexity
of Computations"; for networks Lavin & Gray 2016, arXiv 1509.09308, sec. 4.1).

Along an axis, F(2, m) makes two outputs of a filter of m taps from m + 1 products, not 2 m: it multiplies sums of the
m + 1 inputs of a tile by sums of the taps, and adds. In both directions a 3 x 3 kernel takes 16 products for 2 x 2
outputs instead of 36, a 2 x 2 one 9 instead of 16. Each of them is a product of matrices, over all tiles and channels.
The sums have few terms, with weights of 1 and 1 / 2, so that no more than the last bits of float32 differ.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.matmul import matmul

# y = outputs ((filters g) * (tiles d)), for d[0], ..., d[m] the inputs of two outputs, g the m taps.
_TILES = {2: ((1, -1, 0), (0, 1, 0), (0, -1, 1)), 3: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))}
_FILTERS = {2: ((1, 0), (1, 1), (0, 1)), 3: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))}
_OUTPUTS = {2: ((1, 1, 0), (0, 1, 1)), 3: ((1, 1, 1, 0), (0, 1, -1, -1))}
# What it takes to gain by it, as measured on 2 cores, on grids that are not a single row:
_SAVED = 20  # products that are saved, for each sum: these grow with C + O, those with C O
_WORK = 750_000  # multiplications per image: with fewer it takes longer to compile than it saves

_Taps = tuple[int, ...]  # of a kernel, down and across


def is_faster(shape: Sequence[int], grid: Sequence[int], dtype: jax.typing.DTypeLike) -> bool:
    """Whether a kernel of this shape (m, n, C, O) is quicker by minimal filtering, on a grid (h, w) of outputs.

    Not in other types than float32, whose rounding the sums would not bear.
    """
    taps, (c, o) = shape[:2], shape[2:]
    done = math.prod(taps) * math.prod(grid)  # for each pair of channels
    filtered = math.prod(m + 1 for m in taps) * math.prod(-(-size // 2) for size in grid)
    possible = set(taps) <= set(_TILES) and min(grid) > 1 and dtype == jnp.float32
    return possible and (done - filtered) * c * o >= _SAVED * filtered * (c + o) and done * c * o >= _WORK


def winograd_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution without padding: (B, h + m - 1, w + n - 1, C), (m, n, C, O) -> (B, h, w, O); m and n are 2 or 3."""
    taps = kernel.shape[:2]
    h, w = (size - m + 1 for size, m in zip(x.shape[1:], taps))
    tiles = _tiles(_padded(x, [2 * -(-size // 2) + 2 for size in (h, w)]), taps)
    return _outputs(_products(tiles, kernel), taps)[:, :h, :w]


def winograd_conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Its transpose, where each input adds its patch: (B, h, w, C), (m, n, C, O) -> (B, h + m - 1, w + n - 1, O)."""
    taps = kernel.shape[:2]
    h, w = x.shape[1:3]
    parts = _of_outputs(_padded(x, [2 * -(-size // 2) for size in (h, w)]), taps)
    return _overlap_add(_products(parts, kernel), taps)[:, : h + taps[0] - 1, : w + taps[1] - 1]


def _padded(x: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """(B, ..., C) with zeros behind, to these sizes."""
    return jnp.pad(x, ((0, 0), *((0, size - had) for size, had in zip(sizes, x.shape[1:])), (0, 0)))


def _products(sums: jax.Array, kernel: jax.Array) -> jax.Array:
    """((n + 1) (m + 1), B, h, w, C), (m, n, C, O) -> ((n + 1) (m + 1), B, h, w, O): a product of matrices for each."""
    m, n, c, o = kernel.shape
    filters = jnp.matmul(_matrix(_FILTERS, (m, n)), kernel.swapaxes(0, 1).reshape(n * m, c * o))
    products = matmul(sums.reshape(len(sums), -1, c), filters.reshape(-1, c, o))
    return products.reshape(*sums.shape[:-1], o)


def _matrix(matrices: Mapping[int, Sequence[Sequence[float]]], taps: _Taps) -> np.ndarray:
    """Of both directions, across first."""
    down, across = (np.asarray(matrices[m], np.float32) for m in taps)
    return np.kron(across, down)


def _outputs(products: jax.Array, taps: _Taps) -> jax.Array:
    """Of tiles: ((n + 1) (m + 1), B, h, w, O) -> (B, 2 h, 2 w, O)."""
    _, b, h, w, o = products.shape
    y = jnp.matmul(_matrix(_OUTPUTS, taps), products.reshape(len(products), -1)).reshape(2, 2, b, h, w, o)
    return y.transpose(2, 3, 1, 4, 0, 5).reshape(b, 2 * h, 2 * w, o)


def _of_outputs(y: jax.Array, taps: _Taps) -> jax.Array:
    """The transpose of `_outputs`: (B, 2 h, 2 w, O) -> ((n + 1) (m + 1), B, h, w, O)."""
    b, h, w, o = y.shape
    parts = y.reshape(b, h // 2, 2, w // 2, 2, o).transpose(4, 2, 0, 1, 3, 5)
    return jnp.matmul(_matrix(_OUTPUTS, taps).T, parts.reshape(4, -1)).reshape(-1, *parts.shape[2:])


def _combined(matrix: Sequence[Sequence[float]], terms: Sequence[jax.Array]) -> list[jax.Array]:
    """What a matrix of -1, 0 and 1 makes of the terms: written as sums, XLA does them in one pass."""
    sums = []
    for row in matrix:
        signed = [term if factor > 0 else -term for factor, term in zip(row, terms) if factor]
        sums.append(functools.reduce(jnp.add, signed))
    return sums


def _of_tiles(x: jax.Array, taps: _Taps) -> jax.Array:
    """The sums over the inputs of each tile: (B, 2 h + 2, 2 w + 2, C) -> ((n + 1) (m + 1), B, h, w, C)."""
    for axis, m in ((1, taps[0]), (3, taps[1])):  # the second lies behind the sums of the first
        pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        count = pairs.shape[axis] - 1
        inputs = [
            jax.lax.index_in_dim(
                jax.lax.slice_in_dim(pairs, i // 2, i // 2 + count, axis=axis), i % 2, axis + 1, keepdims=False
            )
            for i in range(m + 1)
        ]
        x = jnp.stack(_combined(_TILES[m], inputs))
    return x.reshape(-1, *x.shape[2:])


def _to_tiles(sums: jax.Array, taps: _Taps) -> jax.Array:
    """The transpose of `_of_tiles`, which are added where they overlap."""
    x = sums.reshape(taps[1] + 1, taps[0] + 1, *sums.shape[1:])
    for axis, m in ((3, taps[1]), (1, taps[0])):
        pairs: list[Any] = [0, 0]
        for i, each in enumerate(_combined(tuple(zip(*_TILES[m])), list(x))):
            shift = [(0, 0)] * each.ndim
            shift[axis] = (i // 2, 1 - i // 2)  # the first two of a tile are the last two of that before it
            pairs[i % 2] += jnp.pad(each, shift)
        x = jnp.stack(pairs, axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x


# Each is the other's gradient: XLA's own transposes take three times as long.
_tiles = jax.custom_vjp(_of_tiles, nondiff_argnums=(1,))
_overlap_add = jax.custom_vjp(_to_tiles, nondiff_argnums=(1,))
_tiles.defvjp(lambda x, taps: (_of_tiles(x, taps), None), lambda taps, _, dy: (_overlap_add(dy, taps),))
_overlap_add.defvjp(lambda x, taps: (_to_tiles(x, taps), None), lambda taps, _, dy: (_tiles(dy, taps),))
