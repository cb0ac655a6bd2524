"""Convolutions and pooling."""

import functools

import jax
import jax.numpy as jnp

from vqjax.ops.matmul import dense
from vqjax.ops.platforms import by_platform
from vqjax.ops.winograd import is_faster, winograd_conv, winograd_conv_transpose

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _split_into_blocks(x: jax.Array, k: int, s: int) -> jax.Array:
    """Pad x with zeros and split it into blocks: (B, s h, s w, C) -> (B, h + m - 1, w + m - 1, s, s, C), m = k / s.

    A k x k kernel that moves by s sees m x m of these blocks of s x s pixels at a time.
    """
    pad = (k - s + 1) // 2
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    b, h, w, c = x.shape
    return x.reshape(b, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5)


def _split_kernel(kernel: jax.Array, s: int) -> jax.Array:
    """Split a kernel into its blocks: (k, k, C, O) -> (k / s, k / s, s, s, C, O)."""
    k, _, c, o = kernel.shape
    return kernel.reshape(k // s, s, k // s, s, c, o).transpose(0, 2, 1, 3, 4, 5)


def _patches(x: jax.Array, k: int, s: int) -> jax.Array:
    """Gather the k x k pixels under a kernel that moves by s: (B, s h, s w, C) -> (B, h, w, k k C), as in a kernel."""
    b, h, w, c = x.shape
    h, w, m = h // s, w // s, k // s
    blocks = _split_into_blocks(x, k, s)
    rows = [jnp.stack([blocks[:, u : u + h, v : v + w] for v in range(m)], 4) for u in range(m)]
    return jnp.stack(rows, 3).reshape(b, h, w, k * k * c)  # (B, h, w, m, s, m, s, C)


def _overlap_add(patches: jax.Array, k: int, s: int) -> jax.Array:
    """Add patches where they overlap, the transpose of `_patches`: (B, h, w, k k C) -> (B, s h, s w, C)."""
    b, h, w, size = patches.shape
    image = jax.ShapeDtypeStruct((b, s * h, s * w, size // k**2), patches.dtype)
    summed: jax.Array = jax.linear_transpose(lambda x: _patches(x, k, s), image)(patches)[0]
    return summed


def _lax_conv(x: jax.Array, kernel: jax.Array, pad: int, stride: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((pad, pad),) * 2, dimension_numbers=_LAYOUT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _one_layout_conv(x: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
    """Convolve with stride 1. The gradients are convolutions of the same layout.

    It is the layout that XLA's CPU back end is quick with. XLA brings other layouts to it, but not inside a loop, where
    they take 50 times as long.
    """
    return _lax_conv(x, kernel, pad)


def _one_layout_gradients(pad: int, saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    dx = _lax_conv(dy, kernel[::-1, ::-1].transpose(0, 1, 3, 2), len(kernel) - 1 - pad)
    # The sum is over positions and examples: the channels take the place of the batch, the examples that of channels.
    dw = _lax_conv(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3), pad).transpose(1, 2, 0, 3)
    return dx, dw


_one_layout_conv.defvjp(lambda x, kernel, pad: (_lax_conv(x, kernel, pad), (x, kernel)), _one_layout_gradients)


# `inline=True`: jit only deduplicates the tracing of equal layers.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolve with p = (k - s + 1) // 2 zeros on every side: (B, H, W, C) -> (B, (H + 2 p - k) // s + 1, ..., O).

    That is (B, H / s, W / s, O) if k - s is even.

    Args:
      x: (B, H, W, C). H and W are multiples of s; for s = 2 and an odd k they may be odd, and H / s is rounded up.
      kernel: (k, k, C, O).
      stride: s.
    """
    k, _, c, o = kernel.shape
    s = stride
    if k == 1:  # sees every s-th pixel alone
        return dense(x[:, ::s, ::s], kernel[0, 0])
    pad = (k - s + 1) // 2

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _lax_conv(x, kernel, pad, s)

    def by_winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
        blocks = _split_into_blocks(x, k, s)
        return winograd_conv(blocks.reshape(*blocks.shape[:3], -1), _split_kernel(kernel, s).reshape(block_shape))

    def in_one_layout(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _one_layout_conv(x, kernel, pad)

    def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return dense(_patches(x, k, s), kernel.reshape(k * k * c, o))

    if k % s or (k - s) % 2 and s > 1:
        return plain(x, kernel)
    block_shape = (k // s, k // s, s * s * c, o)
    if is_faster(block_shape, (x.shape[1] // s, x.shape[2] // s), x.dtype):
        cpu_way = by_winograd
    else:
        cpu_way = in_one_layout if s == 1 else by_patches
    return by_platform(x, kernel, cpu=cpu_way, default=plain)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def conv_transpose(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve transposed, with a kernel of k = 2 s: (B, H, W, C) -> (B, s H, s W, O).

    Input position (i, j) adds x[i, j] @ kernel[u, v] to output position (s i + u - s / 2, s j + v - s / 2).

    Args:
      x: (B, H, W, C).
      kernel: (2 s, 2 s, C, O).
      stride: s, even.
    """
    k, _, c, o = kernel.shape
    s = stride

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = ((k - 1 - s // 2,) * 2,) * 2
        flipped = kernel[::-1, ::-1]
        return jax.lax.conv_general_dilated(x, flipped, (1, 1), padding, lhs_dilation=(s, s), dimension_numbers=_LAYOUT)

    def by_winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y = winograd_conv_transpose(x, _split_kernel(kernel, s).transpose(0, 1, 4, 2, 3, 5).reshape(block_shape))
        b, h, w, _ = y.shape
        y = y.reshape(b, h, w, s, s, o).transpose(0, 1, 3, 2, 4, 5).reshape(b, s * h, s * w, o)
        return y[:, s // 2 : -(s // 2), s // 2 : -(s // 2)]

    def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _overlap_add(dense(x, kernel.transpose(2, 0, 1, 3).reshape(c, k * k * o)), k, s)

    block_shape = (2, 2, c, s * s * o)
    cpu_way = by_winograd if is_faster(block_shape, x.shape[1:3], x.dtype) else by_patches
    return by_platform(x, kernel, cpu=cpu_way, default=plain)


def conv_valid(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve without padding, with stride 1: (B, h + m - 1, w + n - 1, C), (m, n, C, O) -> (B, h, w, O)."""
    m, n, c, o = kernel.shape
    h, w = x.shape[1] - m + 1, x.shape[2] - n + 1

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_LAYOUT)

    def by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = jnp.stack([x[:, i : i + h, j : j + w] for i in range(m) for j in range(n)], 3)  # (B, h, w, m n, C)
        return dense(patches.reshape(x.shape[0], h, w, m * n * c), kernel.reshape(m * n * c, o))

    cpu_way = winograd_conv if is_faster(kernel.shape, (h, w), x.dtype) else by_patches
    return by_platform(x, kernel, cpu=cpu_way, default=plain)


def max_pool(x: jax.Array) -> jax.Array:
    """Take the maximum of each 2 x 2: (B, H, W, C) -> (B, H // 2, W // 2, C). An odd last row or column is left out.

    Equal maxima share their gradient. The gradient of XLA's own pooling, which goes to the first, is slow on a CPU.
    """
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
