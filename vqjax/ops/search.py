"""The nearest code, exactly, and means over the vectors of a code, without an array of all positions by all codes."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform, on_cpu

_MAX_DISTANCES = 2**18  # in one array; of more, the search goes block by block
_MAX_ONE_HOT = 2**23  # numbers in one-hot rows, whose product with the vectors is an accelerator's quick way to sum
# Positions and codes of a block, and codes of a tile.
_CPU_BLOCK = (528, 2_048, 32)  # stays in a core's cache, where rows of a power of two would evict each other
_ACCELERATOR_BLOCK = (8_192, 8_192, 1)  # 256 MiB: an accelerator wants few calls
_MIN_TILED_CODES = 16_384  # with fewer codes tiles do not pay


@jax.custom_batching.custom_vmap
def nearest_codes(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return the code of the nearest vector, of equally near ones the first: (..., D), (K, D) -> (...) int32.

    All numbers must be finite; otherwise the result is some code. float32 rounds squared distances to about 1e-6 of the
    largest square ||e - mean of the codes||^2, and codes whose distances differ by less count as equally near.

    The search finds the least distance, then the first code that has it: two simple passes, far quicker than argmin.
    Many positions by many codes are searched block by block, while the distances are still in the cache; a later block
    wins only with a smaller distance, so the result is still argmin's. With very many codes, one pass finds the least
    distance of each tile of codes, and the distances to the nearest tile are computed once more for the code.
    """
    offset = _offset(codebook)
    vectors, codebook = (z - offset).reshape(-1, z.shape[-1]), codebook - offset
    # (-2 z, 1) . (e, ||e||^2) = ||z - e||^2 - ||z||^2: one product gives distances, less what is equal for all codes.
    vectors = jnp.concatenate([-2 * vectors, jnp.ones_like(vectors[:, :1])], axis=1)
    codebook = jnp.concatenate([codebook, jnp.sum(codebook**2, axis=1, keepdims=True)], axis=1)
    if _static_size(z.shape[:-1]) * len(codebook) <= _MAX_DISTANCES:
        codes = _first_least(_products(codebook, vectors))[1]
    else:
        codes = _search_blocks(vectors, codebook)
    return codes.reshape(z.shape[:-1])


@nearest_codes.def_vmap
def _(size: int, batched: list[bool], z: jax.Array, codebook: jax.Array) -> tuple[jax.Array, bool]:
    """Search the positions of all examples together, so that their total decides between one array and blocks."""
    if not batched[1]:
        return nearest_codes(z, codebook), True
    if not batched[0]:
        z = jnp.broadcast_to(z, (size, *z.shape))
    return jax.lax.map(lambda pair: nearest_codes(*pair), (z, codebook)), True


def code_means(codes: jax.Array, z: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """Return the share of each code, (K,), and the sum of its vectors over the number of positions, (K, D).

    Args:
      codes: (...) int, from 0 to K - 1.
      z: (..., D) float32.
      num_codes: K.
    """

    def by_segments(codes: jax.Array, z: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(z.reshape(-1, z.shape[-1]), codes.reshape(-1), num_codes)

    def by_one_hot(codes: jax.Array, z: jax.Array) -> jax.Array:
        positions = tuple(range(codes.ndim))  # the axes of z but the last
        one_hot = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)
        return jnp.tensordot(one_hot, z, (positions, positions), precision=jax.lax.Precision.HIGHEST)

    many = _static_size(codes.shape) * num_codes > _MAX_ONE_HOT
    total = by_platform(codes, z, cpu=by_segments, default=by_segments if many else by_one_hot)
    return code_frequency(codes, num_codes), total / codes.size


def code_frequency(codes: jax.Array, num_codes: int) -> jax.Array:
    """Return the share of each code: (...) int -> (K,)."""
    return jnp.bincount(codes.reshape(-1), length=num_codes) / codes.size


def _static_size(shape: Sequence[Any]) -> int:
    """Product of the sizes of a shape. Sizes that an exported program leaves open count as 1."""
    return math.prod(size for size in shape if isinstance(size, int))


def _offset(codebook: jax.Array) -> jax.Array:
    """Return the vector (D,) to subtract on both sides: far from the origin the squares would round distances away.

    It is the codebook's mean, rounded to a multiple of a power of two that is 4 to 8 times the spread of the codes. So
    it is 0 for a codebook about the origin, and whole numbers stay exact.
    """
    mean = codebook.mean(0)
    spread = jnp.sqrt(jnp.mean((codebook - mean) ** 2)).astype(jnp.float32)
    exponent = jax.lax.bitcast_convert_type(spread, jnp.int32) & 0x7F800000  # of a float's bits those of its exponent
    power = jax.lax.bitcast_convert_type(exponent, jnp.float32)
    unit = 8 * jnp.where((power > 0) & (power < jnp.inf), power, 1)
    return jnp.round(mean / unit) * unit


def _products(codebook: jax.Array, vectors: jax.Array) -> jax.Array:
    """Multiply codes and vectors: (..., K, D), (..., N, D) -> (..., K, N)."""
    return jnp.einsum("...kd,...nd->...kn", codebook, vectors, precision=jax.lax.Precision.HIGHEST)


def _first_least(distances: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the least distance of each position and the first code that has it: (K, N) -> (N,), (N,) int32.

    Codes are the first axis, so that the minima of neighboring positions advance side by side, which is quick.
    """
    least = distances.min(0)
    numbers = jnp.arange(len(distances), dtype=jnp.int32)
    return least, jnp.min(jnp.where(distances == least, numbers[:, None], numbers[-1]), axis=0)


def _least_of_tiles(distances: jax.Array, tile: int) -> jax.Array:
    """Return the least distance of each tile of codes: (K, N) -> (K / tile, N). Unrolled, it is quicker than `min`."""
    tiles = distances.reshape(-1, tile, distances.shape[1])
    return functools.reduce(jnp.minimum, [tiles[:, number] for number in range(tile)])


def _search_blocks(vectors: jax.Array, codebook: jax.Array) -> jax.Array:
    """Return the codes of the least products, block by block: (N, D), (K, D) -> (N,) int32."""
    block_positions, block_codes, tile = _CPU_BLOCK if on_cpu() else _ACCELERATOR_BLOCK
    if len(codebook) < _MIN_TILED_CODES:
        tile = 1
    blocks = _blocks(codebook, block_codes, max(tile, 8))
    tiles = blocks.reshape(-1, tile, blocks.shape[-1])
    starts = blocks.shape[1] // tile * jnp.arange(len(blocks), dtype=jnp.int32)

    def search_codebook(vectors: jax.Array) -> jax.Array:
        def search_block(best: tuple[jax.Array, jax.Array], block: Any) -> tuple[tuple[jax.Array, jax.Array], None]:
            start, codebook = block
            least, first = _first_least(_least_of_tiles(_products(codebook, vectors), tile))
            nearer = least < best[0]
            return (jnp.where(nearer, least, best[0]), jnp.where(nearer, start + first, best[1])), None

        nothing = jnp.full_like(vectors[:, 0], jnp.inf), jnp.zeros_like(vectors[:, 0], jnp.int32)
        nearest_tile = jax.lax.scan(search_block, nothing, (starts, blocks))[0][1]
        if tile == 1:
            return nearest_tile
        return tile * nearest_tile + _first_least(_products(tiles[nearest_tile], vectors[:, None])[..., 0].T)[1]

    codes = jax.lax.map(search_codebook, _blocks(vectors, block_positions, 8)).reshape(-1)[: vectors.shape[0]]
    return jnp.minimum(codes, len(codebook) - 1)  # the last block is filled with copies of the last code


def _blocks(x: jax.Array, size: int, multiple: int) -> jax.Array:
    """Split rows into blocks: (N, D) -> (blocks, at most `size`, D), each a multiple of `multiple` rows.

    Copies of the last row fill the last block.
    """
    count = -(-x.shape[0] // size)
    if isinstance(count, int):
        size = min(size, -(-x.shape[0] // (multiple * count)) * multiple)  # about equal blocks: little is filled
    filled = jnp.pad(x, [(0, count * size - x.shape[0]), (0, 0)], mode="edge")
    return filled.reshape(count, size, x.shape[1])
