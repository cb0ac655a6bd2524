"""The nearest code, exactly, and sums over the vectors of a code, without an array of all positions by all codes."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform

_WHOLE = 2**18  # distances that are made at once
_ONE_HOT = 2**23  # numbers of one-hot rows, whose product with the vectors is their sum: an accelerator's quick way
# Positions, codes: what stays in a core's cache, where rows of a power of two would evict each other; codes of a tile.
_BLOCK = {"cpu": (528, 2_048, 32)}
_LARGE_BLOCK = (8_192, 8_192, 1)  # 256 MiB of an accelerator, which wants few calls
_MANY = 16_384  # codes, for which tiles pay


@jax.custom_batching.custom_vmap
def nearest_codes(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """The code of the nearest vector, of equally near ones the first: z (..., D), codebook (K, D) -> (...) int32.

    All are finite: else it is any code.

    Distances are rounded as float32: the squared distance of the result is at most 2^-21 (D + 1) R^2 above the least,
    R being the largest length of z and the codes less an offset near the codebook's mean. So the nearest code may be
    missed where codes are much closer to each other than to their mean, as in two tight clusters far apart; the result
    is then another code of the same cluster.

    The least distance is found and then the first code that has it: two simple passes, which are far quicker than
    argmin. Many positions by many codes are searched block by block, so that the distances are still in the cache.
    Later blocks must be nearer to win, so that it is the code that argmin finds. Of very many codes the least distance
    of each tile is found, in one pass, and the code in the nearest tile by its distances once more.
    """
    offset = _offset(codebook)
    vectors, codebook = (z - offset).reshape(-1, z.shape[-1]), codebook - offset
    # (-2 z, 1) . (e, ||e||^2) = ||z - e||^2 - ||z||^2: a distance, but for what no code changes, is one product.
    vectors = jnp.concatenate([-2 * vectors, jnp.ones_like(vectors[:, :1])], axis=1)
    codebook = jnp.concatenate([codebook, jnp.sum(codebook**2, axis=1, keepdims=True)], axis=1)
    if _known(z.shape[:-1]) * len(codebook) <= _WHOLE:
        codes = _least(_products(codebook, vectors))[1]
    else:
        codes = _in_blocks(vectors, codebook)
    return codes.reshape(z.shape[:-1])


@nearest_codes.def_vmap
def _(size: int, batched: list[bool], z: jax.Array, codebook: jax.Array) -> tuple[jax.Array, bool]:
    """More positions, where one by one they would not be seen to be too many for one array."""
    if not batched[1]:
        return nearest_codes(z, codebook), True
    if not batched[0]:
        z = jnp.broadcast_to(z, (size, *z.shape))
    return jax.lax.map(lambda pair: nearest_codes(*pair), (z, codebook)), True


def code_means(codes: jax.Array, z: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """The share of each code in codes (...), (K,), and the sum of its vectors of z (..., D) over the count, (K, D)."""

    def by_segments(codes: jax.Array, z: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(z.reshape(-1, z.shape[-1]), codes.reshape(-1), num_codes)

    def by_products(codes: jax.Array, z: jax.Array) -> jax.Array:
        positions = tuple(range(codes.ndim))  # the axes of z but the last
        one_hot = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)
        return jnp.tensordot(one_hot, z, (positions, positions), precision=jax.lax.Precision.HIGHEST)

    many = _known(codes.shape) * num_codes > _ONE_HOT
    total = by_platform(codes, z, cpu=by_segments, default=by_segments if many else by_products)
    return code_frequency(codes, num_codes), total / codes.size


def code_frequency(codes: jax.Array, num_codes: int) -> jax.Array:
    """The share of each code in codes (...), (K,)."""
    return jnp.bincount(codes.reshape(-1), length=num_codes) / codes.size


def _known(shape: Sequence[Any]) -> int:
    """The product of a shape's sizes; in an exported program some are not known, and count as 1."""
    return math.prod(size for size in shape if isinstance(size, int))


def _offset(codebook: jax.Array) -> jax.Array:
    """What is taken off both sides, (D,): far from the origin distances would be lost in the rounding of the squares.

    It is the codebook's mean, to the nearest multiple of a power of two that is 4 to 8 times the codes' spread. So it
    is 0 for a codebook about the origin, and whole numbers and the like stay exact.
    """
    mean = codebook.mean(0)
    spread = jnp.sqrt(jnp.mean((codebook - mean) ** 2)).astype(jnp.float32)
    exponent = jax.lax.bitcast_convert_type(spread, jnp.int32) & 0x7F800000  # of a float's bits those of its exponent
    power = jax.lax.bitcast_convert_type(exponent, jnp.float32)
    unit = 8 * jnp.where((power > 0) & (power < jnp.inf), power, 1)
    return jnp.round(mean / unit) * unit


def _products(codebook: jax.Array, vectors: jax.Array) -> jax.Array:
    """(..., K, D), (..., N, D) -> (..., K, N)"""
    return jnp.einsum("...kd,...nd->...kn", codebook, vectors, precision=jax.lax.Precision.HIGHEST)


def _least(distances: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(K, N), for minima side by side are quick -> the least of each position, and the first code with it, (N,)."""
    least = distances.min(0)
    numbers = jnp.arange(len(distances), dtype=jnp.int32)
    return least, jnp.min(jnp.where(distances == least, numbers[:, None], numbers[-1]), axis=0)


def _of_tiles(distances: jax.Array, tile: int) -> jax.Array:
    """The least of each tile of codes, (K, N) -> (K / tile, N): written out, which is quicker than a minimum."""
    tiles = distances.reshape(-1, tile, distances.shape[1])
    return functools.reduce(jnp.minimum, [tiles[:, number] for number in range(tile)])


def _in_blocks(vectors: jax.Array, codebook: jax.Array) -> jax.Array:
    """(N, D), (K, D) -> the codes of the least products, (N,) int32."""
    positions, codes, tile = _BLOCK.get(jax.default_backend(), _LARGE_BLOCK)
    if len(codebook) < _MANY:
        tile = 1
    blocks = _blocks(codebook, codes, max(tile, 8))
    tiles = blocks.reshape(-1, tile, blocks.shape[-1])
    starts = blocks.shape[1] // tile * jnp.arange(len(blocks), dtype=jnp.int32)

    def of_block(vectors: jax.Array) -> jax.Array:
        def search(best: tuple[jax.Array, jax.Array], block: Any) -> tuple[tuple[jax.Array, jax.Array], None]:
            start, codebook = block
            least, first = _least(_of_tiles(_products(codebook, vectors), tile))
            nearer = least < best[0]
            return (jnp.where(nearer, least, best[0]), jnp.where(nearer, start + first, best[1])), None

        nothing = jnp.full_like(vectors[:, 0], jnp.inf), jnp.zeros_like(vectors[:, 0], jnp.int32)
        found = jax.lax.scan(search, nothing, (starts, blocks))[0][1]
        if tile == 1:
            return found
        return tile * found + _least(_products(tiles[found], vectors[:, None])[..., 0].T)[1]

    found = jax.lax.map(of_block, _blocks(vectors, positions, 8)).reshape(-1)[: vectors.shape[0]]
    return jnp.minimum(found, len(codebook) - 1)  # a copy of the last is the last


def _blocks(x: jax.Array, size: int, multiple: int) -> jax.Array:
    """(N, D) -> (blocks, at most `size`, D), each of a multiple of so many, filled with copies of the last one."""
    count = -(-x.shape[0] // size)
    if isinstance(count, int):
        size = min(size, -(-x.shape[0] // (multiple * count)) * multiple)  # about equal, so that little is filled
    filled = jnp.pad(x, [(0, count * size - x.shape[0]), (0, 0)], mode="edge")
    return filled.reshape(count, size, x.shape[1])
