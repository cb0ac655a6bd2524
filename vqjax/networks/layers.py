"""Layers: convolutions, which `vqjax.ops` computes, dropout and batch norm."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.ops import axes
from vqjax.ops.conv import conv, conv_transpose

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}  # types that networks compute in
INITIALIZERS = {
    "lecun": nn.initializers.lecun_normal(),
    "xavier": nn.initializers.xavier_uniform(),
    "kaiming": nn.initializers.kaiming_normal(),
}


def dropout(x: jax.Array, rate: float, keys: jax.Array | None) -> jax.Array:
    """Set a share of each example to 0 and scale up the rest; without keys, return x.

    Args:
      x: (B, ...).
      rate: the share, in [0, 1).
      keys: a PRNG key per example, (B,), or None.
    """
    if keys is None or not rate:
        return x
    keep_mask = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return x * (keep_mask / (1 - rate)).astype(x.dtype)


def get_or_create_param(module: nn.Module, name: str, initializer: Callable, *arguments: Any) -> jax.Array:
    """Like `module.param`, but skips re-tracing the initializer when the parameter exists."""
    if module.has_variable("params", name):
        param: jax.Array = module.get_variable("params", name)
        return param
    return module.param(name, initializer, *arguments)  # type: ignore[no-any-return]


def rematerialized(block: Callable, remat: bool) -> Callable:
    """Return a method (module, x, static argument) -> x that, with `remat`, recomputes its insides for the gradient.

    They need not be kept until then: less memory for more time. Parameters and results are the same.
    """
    return nn.remat(block, static_argnums=(2,)) if remat else block


class _Convolution(nn.Module):
    """Base of both convolutions: the kernel, with or without weight norm, the bias and the compute dtype.

    Attributes:
      features: output channels O.
      kernel_size: k, for a k x k kernel.
      stride: s.
      use_bias: add a bias, initially zero.
      weight_norm: use kernel = scale * v / ||v|| per output channel (Salimans & Kingma 2016, eq. 2). The initial scale
        is ||v||, so that the layer starts as the one without weight norm.
      kernel_init: name of the kernel's initializer, an entry of INITIALIZERS.
      dtype: type that the layer computes in; parameters are float32.
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
        """Convolve: (B, H, W, C) -> (B, H / s, W / s, O); transposed, to (B, s H, s W, O)."""
        k = self.kernel_size
        kernel = get_or_create_param(self, "kernel", self._initializer, (k, k, x.shape[-1], self.features))
        if self.weight_norm:
            norm = jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))  # (O,)
            kernel = kernel * (get_or_create_param(self, "scale", lambda _: norm) / norm)
        y = self._convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y = y + get_or_create_param(self, "bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


class Conv(_Convolution):
    """2-D convolution, padded as `ops.conv.conv`; the fields are `_Convolution`'s."""


class ConvTranspose(_Convolution):
    """2-D transposed convolution with k = 2 s, see `ops.conv.conv_transpose`; the fields are `_Convolution`'s."""

    def _initializer(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        # An output pixel sums over (k / s)^2 taps of each channel: the initializer must see that fan-in.
        (k, _, c, o), s = shape, self.stride
        kernel = INITIALIZERS[self.kernel_init](key, (k // s, k // s, c, s * s * o))
        return kernel.reshape(k // s, k // s, c, s, s, o).transpose(0, 3, 1, 4, 2, 5).reshape(shape)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_transpose(x, kernel, self.stride)


class BatchNorm(nn.Module):
    """Batch norm. In training it uses the statistics of the global batch, over all devices.

    Attributes:
      dtype: type that the layer computes in; statistics are float32.
      affine: learn a scale and a shift per channel.
    """

    dtype: Any
    affine: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalize each channel: (..., C) -> (..., C). `train`: by the batch, else by the running statistics."""
        axis = axes.BATCH if train and not self.is_initializing() else None
        options = {"use_scale": self.affine, "use_bias": self.affine, "momentum": 0.9, "dtype": self.dtype}
        return nn.BatchNorm(not train, axis_name=axis, name="norm", **options)(x)
