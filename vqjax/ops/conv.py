"""Convolutions and pooling."""

import functools

import jax
import jax.numpy as jnp

from vqjax.ops.matmul import dense
from vqjax.ops.platforms import by_platform
from vqjax.ops.winograd import is_faster, winograd_conv, winograd_conv_transpose

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _blocks(x: jax.Array, k: int, s: int) -> jax.Array:
    """Of s x s pixels, as a kernel sees them that moves by s: (B, s h, s w, C) -> (B, h + m - 1, w + m - 1, s, s, C).

    The kernel is over m = k / s of them each way, whose middle is that of a block of the image; zeros are around it.
    """
    pad = (k - s + 1) // 2
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    b, h, w, c = x.shape
    return x.reshape(b, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5)


def _kernel_blocks(kernel: jax.Array, s: int) -> jax.Array:
    """(k, k, C, O) -> (k / s, k / s, s, s, C, O)."""
    k, _, c, o = kernel.shape
    return kernel.reshape(k // s, s, k // s, s, c, o).transpose(0, 2, 1, 3, 4, 5)


def _patches(x: jax.Array, k: int, s: int) -> jax.Array:
    """The k x k pixels under a kernel that moves by s: (B, s h, s w, C) -> (B, h, w, k k C), in the kernel's order."""
    b, h, w, c = x.shape
    h, w, m = h // s, w // s, k // s
    blocks = _blocks(x, k, s)
    rows = [jnp.stack([blocks[:, u : u + h, v : v + w] for v in range(m)], 4) for u in range(m)]
    return jnp.stack(rows, 3).reshape(b, h, w, k * k * c)  # (B, h, w, m, s, m, s, C)


def _overlap_add(patches: jax.Array, k: int, s: int) -> jax.Array:
    """The transpose of `_patches`, their sum where they overlap: (B, h, w, k k C) -> (B, s h, s w, C)."""
    b, h, w, size = patches.shape
    image = jax.ShapeDtypeStruct((b, s * h, s * w, size // k**2), patches.dtype)
    summed: jax.Array = jax.linear_transpose(lambda x: _patches(x, k, s), image)(patches)[0]
    return summed


def _correlated(x: jax.Array, kernel: jax.Array, pad: int, stride: int = 1) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((pad, pad),) * 2, dimension_numbers=_LAYOUT)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolved(x: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
    """A convolution with stride 1, of which the gradients are convolutions of the same layout.

    To that layout XLA's CPU back end brings what it runs quickly, but not in a loop: there it takes 50 times as long.
    """
    return _correlated(x, kernel, pad)


def _convolved_gradients(pad: int, saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    dx = _correlated(dy, kernel[::-1, ::-1].transpose(0, 1, 3, 2), len(kernel) - 1 - pad)
    # Over positions and examples: channels are the batch, examples the channels.
    dw = _correlated(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3), pad).transpose(1, 2, 0, 3)
    return dx, dw


_convolved.defvjp(lambda x, kernel, pad: (_correlated(x, kernel, pad), (x, kernel)), _convolved_gradients)


# Inlined, for nothing but that layers of the same shapes are traced once; so is the other.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution padded by (k - s + 1) // 2 on every side: (B, H, W, C) -> (B, H / s, W / s, O).

    Args:
      x: (B, H, W, C), H and W multiples of the stride; for s = 2 and an odd k they may be odd, H / s is rounded up.
      kernel: (k, k, C, O).
      stride: s.
    """
    k, _, c, o = kernel.shape
    s = stride
    if k == 1:  # looks at every s-th pixel only
        return dense(x[:, ::s, ::s], kernel[0, 0])
    pad = (k - s + 1) // 2

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _correlated(x, kernel, pad, s)

    def filtered(x: jax.Array, kernel: jax.Array) -> jax.Array:
        blocks = _blocks(x, k, s)
        return winograd_conv(blocks.reshape(*blocks.shape[:3], -1), _kernel_blocks(kernel, s).reshape(block_shape))

    def in_one_layout(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _convolved(x, kernel, pad)

    def of_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return dense(_patches(x, k, s), kernel.reshape(k * k * c, o))

    if k % s or (k - s) % 2 and s > 1:
        return plain(x, kernel)
    block_shape = (k // s, k // s, s * s * c, o)
    if is_faster(block_shape, (x.shape[1] // s, x.shape[2] // s), x.dtype):
        on_cpu = filtered
    else:
        on_cpu = in_one_layout if s == 1 else of_patches
    return by_platform(x, kernel, cpu=on_cpu, default=plain)


@functools.partial(jax.jit, static_argnums=2, inline=True)
def conv_transpose(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Transposed convolution with a kernel of k = 2 s: (B, H, W, C) -> (B, s H, s W, O).

    Input position (i, j) adds x[i, j] @ kernel[u, v] to output position (s i + u - s / 2, s j + v - s / 2).

    Args:
      x: (B, H, W, C).
      kernel: (2 s, 2 s, C, O).
      stride: s, even.
    """
    k, _, c, o = kernel.shape
    s = stride

    def dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = ((k - 1 - s // 2,) * 2,) * 2
        flipped = kernel[::-1, ::-1]
        return jax.lax.conv_general_dilated(x, flipped, (1, 1), padding, lhs_dilation=(s, s), dimension_numbers=_LAYOUT)

    def filtered(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y = winograd_conv_transpose(x, _kernel_blocks(kernel, s).transpose(0, 1, 4, 2, 3, 5).reshape(block_shape))
        b, h, w, _ = y.shape
        y = y.reshape(b, h, w, s, s, o).transpose(0, 1, 3, 2, 4, 5).reshape(b, s * h, s * w, o)
        return y[:, s // 2 : -(s // 2), s // 2 : -(s // 2)]

    def to_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _overlap_add(dense(x, kernel.transpose(2, 0, 1, 3).reshape(c, k * k * o)), k, s)

    block_shape = (2, 2, c, s * s * o)
    on_cpu = filtered if is_faster(block_shape, x.shape[1:3], x.dtype) else to_patches
    return by_platform(x, kernel, cpu=on_cpu, default=dilated)


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2 x 2: (B, H, W, C) -> (B, H // 2, W // 2, C); an odd last row or column is left out.

    XLA's own pooling has a slow gradient on CPU; ties share theirs here.
    """
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
