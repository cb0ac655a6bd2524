"""Convolutions, exact on every back end and quick on all of them; pooling, dropout, batch norm.

XLA's CPU back end runs strided and transposed convolutions, and above all their weight gradients, on a
slow path. On CPU the same sums are therefore written as a space-to-depth followed by a stride-1
convolution, and as a matrix product followed by an overlap-add. Parameters are the same everywhere.
Which of the two a program has is decided when it is lowered for a platform, so that an export made on a
CPU has each platform's own.
A 1 x 1 convolution is a matrix product, whose gradients XLA's CPU back end finds three times as fast.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.core import axes

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}  # of the computation
INITIALIZERS = {
    "lecun": nn.initializers.lecun_normal(),
    "xavier": nn.initializers.xavier_uniform(),
    "kaiming": nn.initializers.kaiming_normal(),
}

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _space_to_depth(x: jax.Array, s: int) -> jax.Array:
    b, h, w, c = x.shape
    x = x.reshape(b, h // s, s, w // s, s, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // s, w // s, s * s * c)


def _depth_to_space(x: jax.Array, s: int) -> jax.Array:
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, s, s, c // (s * s))
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * s, w * s, c // (s * s))


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution padded by (k - s + 1) // 2 on every side: (B, H, W, C) -> (B, H / s, W / s, O).

    Args:
      x: (B, H, W, C), H and W multiples of the stride; for s = 2 and an odd k they may be odd, H / s is rounded up.
      kernel: (k, k, C, O).
      stride: s.
    """
    k, _, c, o = kernel.shape
    if k == 1:  # looks at every s-th pixel only
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    pad = (k - stride + 1) // 2
    padding = ((pad, pad), (pad, pad))

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_LAYOUT)

    def blockwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x = _space_to_depth(jnp.pad(x, ((0, 0), *padding, (0, 0))), stride)
        kernel = _space_to_depth(kernel.transpose(2, 0, 1, 3), stride)  # (C, k/s, k/s, s s O)
        m = k // stride
        kernel = kernel.reshape(c, m, m, stride**2, o).transpose(1, 2, 3, 0, 4).reshape(m, m, stride**2 * c, o)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_LAYOUT)

    if stride > 1 and k % stride == 0:
        return jax.lax.platform_dependent(x, kernel, cpu=blockwise, default=plain)
    return plain(x, kernel)


def conv_transpose(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Transposed convolution with a kernel of k = 2 s: (B, H, W, C) -> (B, s H, s W, O).

    Input position (i, j) adds x[i, j] @ kernel[u, v] to output position (s i + u - s / 2, s j + v - s / 2).

    Args:
      x: (B, H, W, C).
      kernel: (2 s, 2 s, C, O).
      stride: s, even.
    """
    k, _, c, o = kernel.shape
    b, h, w, _ = x.shape
    s = stride

    def dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padding = ((k - 1 - s // 2,) * 2,) * 2
        flipped = kernel[::-1, ::-1]
        return jax.lax.conv_general_dilated(x, flipped, (1, 1), padding, lhs_dilation=(s, s), dimension_numbers=_LAYOUT)

    def overlap_add(x: jax.Array, kernel: jax.Array) -> jax.Array:
        # Each input position gives a k x k patch, cut into 2 x 2 blocks of s x s that lie on a grid of blocks.
        patches = x.reshape(-1, c) @ kernel.transpose(2, 0, 1, 3).reshape(c, k * k * o)
        patches = patches.reshape(b, h, w, 2, s, 2, s, o)
        blocks: Any = sum(
            jnp.pad(patches[:, :, :, u, :, v], ((0, 0), (u, 1 - u), (v, 1 - v), (0, 0), (0, 0), (0, 0)))
            for u in range(2)
            for v in range(2)
        )  # (B, H + 1, W + 1, s, s, O)
        y = _depth_to_space(blocks.reshape(b, h + 1, w + 1, s * s * o), s)
        return y[:, s // 2 : -(s // 2), s // 2 : -(s // 2)]

    return jax.lax.platform_dependent(x, kernel, cpu=overlap_add, default=dilated)


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2 x 2: (B, H, W, C) -> (B, H // 2, W // 2, C); an odd last row or column is left out.

    XLA's own pooling has a slow gradient on CPU; ties share theirs here.
    """
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def dropout(x: jax.Array, rate: float, keys: jax.Array | None) -> jax.Array:
    """x (B, ...) with a share `rate` of each example set to 0 by its key (B,), the rest scaled up; without keys, x."""
    if keys is None or not rate:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return x * (kept / (1 - rate)).astype(x.dtype)


class _Convolution(nn.Module):
    """What both layers share: the kernel (weight-normalised or not), the bias, the compute dtype.

    Attributes:
      features: output channels O.
      kernel_size: k, for a k x k kernel.
      stride: s.
      use_bias: add a bias, zero at first.
      weight_norm: kernel = scale * v / ||v|| per output channel (Salimans & Kingma 2016, eq. 2); the
        scale starts at ||v||, so that the layer starts as the one without weight norm.
      kernel_init: an entry of INITIALIZERS.
      dtype: of the computation; parameters are float32.
    """

    features: int
    kernel_size: int
    stride: int = 1
    use_bias: bool = True
    weight_norm: bool = False
    kernel_init: str = "lecun"
    dtype: Any = jnp.float32

    def _initializer(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return INITIALIZERS[self.kernel_init](key, shape)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv(x, kernel, self.stride)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H / s, W / s, O), or (B, s H, s W, O) transposed."""
        k = self.kernel_size
        kernel = self.param("kernel", self._initializer, (k, k, x.shape[-1], self.features))
        if self.weight_norm:
            norm = jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))  # (O,)
            kernel = kernel * (self.param("scale", lambda _: norm) / norm)
        y = self._convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


class Conv(_Convolution):
    """2-D convolution; see `conv` for its padding and `_Convolution` for its fields."""


class ConvTranspose(_Convolution):
    """2-D transposed convolution, k = 2 s; see `conv_transpose`."""

    def _initializer(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        # An output pixel sums over (k / s)^2 taps of each channel: scale the kernel by that fan-in.
        k, _, c, o = shape
        kernel = INITIALIZERS[self.kernel_init](key, (k // self.stride, k // self.stride, c, self.stride**2 * o))
        return _depth_to_space(kernel.transpose(2, 0, 1, 3), self.stride).transpose(1, 2, 0, 3)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_transpose(x, kernel, self.stride)


class BatchNorm(nn.Module):
    """Batch norm; in training by the statistics of the global batch, over all devices.

    Attributes:
      dtype: of the computation; statistics are float32.
      affine: with a scale and a shift per channel.
    """

    dtype: Any
    affine: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(..., C) -> the same shape."""
        axis = axes.BATCH if train and not self.is_initializing() else None
        options = {"use_scale": self.affine, "use_bias": self.affine, "momentum": 0.9, "dtype": self.dtype}
        return nn.BatchNorm(not train, axis_name=axis, name="norm", **options)(x)
