"""The nearest code, exactly, and sums over the vectors of a code, without an array of all positions by all codes."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

_WHOLE = 2**18  # distances that are made at once
_ONE_HOT = 2**23  # numbers of one-hot rows, whose product with the vectors is their sum: an accelerator's quick way
_BLOCK = {"cpu": (512, 1_024)}  # positions, codes: what stays in a core's cache
_LARGE_BLOCK = (8_192, 8_192)  # 256 MiB of an accelerator, which wants few calls


def squared_distances(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """||z_n - e_k||^2 less ||z_n||^2, which no choice of k depends on: (..., D), (K, D) -> (..., K), float32."""
    return _distances(z, codebook, jnp.sum(codebook**2, axis=-1))


@jax.custom_batching.custom_vmap
def nearest(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """The code of the nearest vector, of equally near ones the first: z (..., D), codebook (K, D) -> (...) int32.

    All are finite: else it is any code.

    The least distance is found and then the first code that has it: two simple passes, which are far quicker than
    argmin. Many positions by many codes are searched block by block, so that the products are still in the cache. Later
    blocks must be nearer to win, so that it is the code that argmin finds.
    """
    offset = _offset(codebook)
    rows, codebook = (z - offset).reshape(-1, z.shape[-1]), codebook - offset
    if _known(z.shape[:-1]) * len(codebook) <= _WHOLE:
        codes = _least(_distances(codebook, rows, jnp.sum(codebook**2, axis=-1, keepdims=True)))[1]
    else:
        codes = _in_blocks(rows, codebook)
    return codes.reshape(z.shape[:-1])


@nearest.def_vmap
def _(size: int, batched: list[bool], z: jax.Array, codebook: jax.Array) -> tuple[jax.Array, bool]:
    """More positions, where one by one they would not be seen to be too many for one array."""
    if not batched[1]:
        return nearest(z, codebook), True
    if not batched[0]:
        z = jnp.broadcast_to(z, (size, *z.shape))
    return jax.lax.map(lambda pair: nearest(*pair), (z, codebook)), True


def means(codes: jax.Array, z: jax.Array, num_codes: int) -> tuple[jax.Array, jax.Array]:
    """The share of each code in codes (...), (K,), and the sum of its vectors of z (..., D) over the count, (K, D)."""

    def by_segments(codes: jax.Array, z: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(z.reshape(-1, z.shape[-1]), codes.reshape(-1), num_codes)

    def by_products(codes: jax.Array, z: jax.Array) -> jax.Array:
        positions = tuple(range(codes.ndim))  # the axes of z but the last
        one_hot = jax.nn.one_hot(codes, num_codes, dtype=jnp.float32)
        return jnp.tensordot(one_hot, z, (positions, positions), precision=jax.lax.Precision.HIGHEST)

    many = _known(codes.shape) * num_codes > _ONE_HOT
    total = jax.lax.platform_dependent(codes, z, cpu=by_segments, default=by_segments if many else by_products)
    return shares(codes, num_codes), total / codes.size


def shares(codes: jax.Array, num_codes: int) -> jax.Array:
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
    spread = jnp.sqrt(jnp.mean((codebook - mean) ** 2))
    unit = jnp.ldexp(jnp.float32(1), jnp.frexp(spread)[1] + 2)
    return jnp.round(mean / unit) * unit


def _distances(z: jax.Array, codebook: jax.Array, squares: jax.Array) -> jax.Array:
    return squares - 2 * jnp.einsum("...d,kd->...k", z, codebook, precision=jax.lax.Precision.HIGHEST)


def _least(distances: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(K, N), for minima side by side are quick -> the least of each position, and the first code with it, (N,)."""
    least = distances.min(0)
    numbers = jnp.arange(len(distances), dtype=jnp.int32)
    return least, jnp.min(jnp.where(distances == least, numbers[:, None], numbers[-1]), axis=0)


def _in_blocks(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """z (N, D), codebook (K, D) -> (N,) int32."""
    positions, codes = _BLOCK.get(jax.default_backend(), _LARGE_BLOCK)
    squares = _blocks(jnp.sum(codebook**2, axis=-1), codes, jnp.inf)  # where there is no code, none is nearest
    codebook = _blocks(codebook, codes)
    starts = codebook.shape[1] * jnp.arange(len(codebook), dtype=jnp.int32)

    def of_block(z: jax.Array) -> jax.Array:
        def search(best: tuple[jax.Array, jax.Array], block: Any) -> tuple[tuple[jax.Array, jax.Array], None]:
            start, vectors, squares = block
            least, first = _least(_distances(vectors, z, squares[:, None]))
            nearer = least < best[0]
            return (jnp.where(nearer, least, best[0]), jnp.where(nearer, start + first, best[1])), None

        nothing = jnp.full_like(z[:, 0], jnp.inf), jnp.zeros_like(z[:, 0], jnp.int32)
        return jax.lax.scan(search, nothing, (starts, codebook, squares))[0][1]

    return jax.lax.map(of_block, _blocks(z, positions)).reshape(-1)[: z.shape[0]]


def _blocks(x: jax.Array, size: int, padding: float = 0.0) -> jax.Array:
    """(N, ...) -> (blocks, at most `size`, ...), the last one padded."""
    count = -(-x.shape[0] // size)
    if isinstance(count, int):
        size = min(size, -(-x.shape[0] // (8 * count)) * 8)  # about equal, so that little is padded
    pad = [(0, count * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, pad, constant_values=padding).reshape(count, size, *x.shape[1:])
