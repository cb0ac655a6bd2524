"""VQGAN's encoder and decoder (Esser et al. 2021, arXiv 2012.09841), which LlamaGen's tokenizers have too.

Stages of residual blocks with group normalization and swish, self-attention where the feature map is small.
"""

import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.config.annotations import Depth, Multiple, OneOf, Range, Width
from vqjax.networks.layers import INITIALIZERS, Conv, rematerialized
from vqjax.ops.conv import conv
from vqjax.system.errors import InputError

_GROUPS = 32  # of the channels, normalized together
_STAGES = 8  # at most


def _group_norm(x: jax.Array, dtype: Any) -> jax.Array:
    """Layer of the module that calls it; statistics are float32."""
    return nn.GroupNorm(_GROUPS, epsilon=1e-6, dtype=dtype, use_fast_variance=False)(x)


class DownConv(Conv):
    """A convolution k = 3, s = 2 with zeros below and to the right of the image only; see `_Convolution`."""

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        # `conv` pads k = 4, s = 2 by one on each side: a first row and column of zeros moves the kernel back by one.
        return conv(x, jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))), self.stride)


class _Block(nn.Module):
    """The layers that residual and attention blocks are made of.

    Attributes:
      features: channels of the result.
      kernel_init: of the kernels, an entry of INITIALIZERS.
      dtype: of the computation; the softmax is float32.
    """

    features: int
    kernel_init: str
    dtype: Any

    def _conv(self, x: jax.Array, kernel_size: int) -> jax.Array:
        return Conv(self.features, kernel_size, kernel_init=self.kernel_init, dtype=self.dtype)(x)


class ResidualBlock(_Block):
    """x plus two 3 x 3 convolutions, each of normalized and swished features; a 1 x 1 on x if it has other channels."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the block: (B, h, w, C) -> (B, h, w, features)."""
        y = x
        for _ in range(2):
            y = self._conv(nn.swish(_group_norm(y, self.dtype)), 3)
        return (x if x.shape[-1] == self.features else self._conv(x, 1)) + y


class AttentionBlock(_Block):
    """x plus self-attention with one head over all positions of its normalized features."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the block: (B, h, w, features) -> the same."""
        b, h, w, c = x.shape
        y = _group_norm(x, self.dtype)
        query, key, value = (self._conv(y, 1).reshape(b, h * w, c) for _ in range(3))
        logits = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32) / math.sqrt(c)
        y = jnp.einsum("bqk,bkc->bqc", nn.softmax(logits).astype(self.dtype), value)
        return x + self._conv(y.reshape(x.shape), 1)


class _VQGAN(nn.Module):
    """VQGAN's networks: stages of residual blocks, whose feature maps are halved or doubled in between.

    Attributes:
      features: channels of the result, given by the model.
      width: channels where the multiplier is 1, a multiple of 32.
      multipliers: of the width in each stage, from the image inwards; the whole stride is 2 ** (their number - 1).
      attention: numbers of the stages with self-attention after each block, 0 next to the image. Its memory and time
        grow with the square of the positions. Between encoder and decoder there is always attention.
      blocks: residual blocks in each stage of the encoder; the decoder has one more.
      latent_width: channels between the 3 x 3 and the 1 x 1 convolution on either side of the quantizer.
      kernel_init: of the kernels, an entry of INITIALIZERS.
      remat: see `rematerialized`.
      dtype: of the computation.
    """

    features: int
    width: Annotated[int, Multiple(_GROUPS), Range(_GROUPS, 2**16)]
    multipliers: tuple[Annotated[int, Range(1, 16)], ...]
    attention: tuple[Annotated[int, Range(0, _STAGES - 1)], ...]
    blocks: Depth
    latent_width: Width
    kernel_init: Annotated[str, OneOf(INITIALIZERS)]
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """Pixels per position of the latent grid, in each direction."""
        return 2 ** (len(self.multipliers) - 1)

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, for no stages, too many, or attention in a stage beyond them."""
        if not 1 <= len(self.multipliers) <= _STAGES:
            raise InputError(
                f"{key}.multipliers={self.multipliers}: expected 1 to {_STAGES} numbers, one for each stage"
            )
        for stage in self.attention:
            if stage >= len(self.multipliers):
                raise InputError(
                    f"{key}.attention={self.attention}: expected numbers of stages, 0 to {len(self.multipliers) - 1}"
                )

    def _conv(self, features: int, kernel_size: int) -> Conv:
        return Conv(features, kernel_size, kernel_init=self.kernel_init, dtype=self.dtype)

    def _block(self, x: jax.Array, shape: tuple[int, bool]) -> jax.Array:
        """Apply a residual block, and attention if `shape` (width, attends) says so."""
        width, attends = shape
        x = ResidualBlock(width, self.kernel_init, self.dtype)(x)
        return AttentionBlock(width, self.kernel_init, self.dtype)(x) if attends else x

    def _blocks(self, x: jax.Array, *shapes: tuple[int, bool]) -> jax.Array:
        block = rematerialized(_VQGAN._block, self.remat)
        for shape in shapes:
            x = block(self, x, shape)
        return x

    def _stage(self, x: jax.Array, stage: int, blocks: int) -> jax.Array:
        return self._blocks(x, *blocks * [(self.width * self.multipliers[stage], stage in self.attention)])

    def _middle(self, x: jax.Array) -> jax.Array:
        return self._blocks(x, (x.shape[-1], True), (x.shape[-1], False))

    def _output(self, x: jax.Array, features: int) -> jax.Array:
        return self._conv(features, 3)(nn.swish(_group_norm(x, self.dtype)))


class VQGANEncoder(_VQGAN):
    """A 3 x 3, the stages, the middle, a 3 x 3 and a 1 x 1 to `features`; the fields are `_VQGAN`'s."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Encode: (B, H, W, C) -> (B, H / stride, W / stride, features)."""
        x = self._conv(self.width, 3)(x)
        for stage in range(len(self.multipliers)):
            if stage:
                x = DownConv(x.shape[-1], 3, 2, kernel_init=self.kernel_init, dtype=self.dtype)(x)
            x = self._stage(x, stage, self.blocks)
        x = self._output(self._middle(x), self.latent_width)
        return self._conv(self.features, 1)(x)


class VQGANDecoder(_VQGAN):
    """A 1 x 1 and a 3 x 3, the middle, the stages inside out, a 3 x 3 to `features`; the fields are `_VQGAN`'s."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Decode: (B, h, w, D) -> (B, h * stride, w * stride, features)."""
        x = self._conv(self.latent_width, 1)(x)
        x = self._middle(self._conv(self.width * self.multipliers[-1], 3)(x))
        for stage in reversed(range(len(self.multipliers))):
            x = self._stage(x, stage, self.blocks + 1)
            if stage:
                x = self._conv(x.shape[-1], 3)(x.repeat(2, axis=1).repeat(2, axis=2))
        return self._output(x, self.features)
