"""Encoders, which map (B, H, W, C) to (B, H / stride, W / stride, features), and decoders, which map back."""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.config.annotations import Depth, Multiple, OneOf, Range, Width
from vqjax.networks.layers import INITIALIZERS, BatchNorm, Conv, ConvTranspose, rematerialized
from vqjax.networks.vqgan import VQGANDecoder, VQGANEncoder
from vqjax.ops.conv import max_pool


class _DeepMind(nn.Module):
    """Network of the VQ-VAE paper (van den Oord et al. 2017, sec. 4.1), as Sonnet and its descendants have it.

    Attributes:
      features: channels of the result, given by the model.
      width: channels inside; next to the image half as many.
      residual_width: channels inside a residual block.
      blocks: number of residual blocks.
      stages: number of 4 x 4 convolutions of stride 2; the total stride is 2 ** stages.
      batch_norm: normalize after every convolution that a ReLU follows, and at the end of a residual block.
      weight_norm: normalize the kernel of every convolution.
      kernel_init: name of the kernels' initializer, an entry of INITIALIZERS.
      relu_skip: let a residual block add to relu(x) instead of to x, as code does whose first ReLU works in place.
      remat: compute residual blocks again for the gradient, which takes less memory and more time.
      dtype: type that the network computes in.
    """

    features: int
    width: Width
    residual_width: Width
    blocks: Annotated[int, Range(0, 256)]
    stages: Annotated[int, Range(0, 16)]
    batch_norm: bool
    weight_norm: bool
    kernel_init: Annotated[str, OneOf(INITIALIZERS)]
    relu_skip: bool
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """Pixels per position of the latent grid, in each direction."""
        return 2**self.stages

    def _layer(
        self, layer: type[Conv | ConvTranspose], features: int, size: int, stride: int = 1, *, use_bias: bool = True
    ) -> Conv | ConvTranspose:
        options = {"weight_norm": self.weight_norm, "kernel_init": self.kernel_init, "dtype": self.dtype}
        return layer(features, size, stride, use_bias, **options)

    def _normed(self, x: jax.Array, train: bool, *layer: Any, use_bias: bool = True) -> jax.Array:
        """Apply a layer, then batch norm if that is on, before which a bias would have no effect."""
        x = self._layer(*layer, use_bias=use_bias and not self.batch_norm)(x)
        if not self.batch_norm:
            return x
        return BatchNorm(self.dtype)(x, train)

    def _residual_block(self, x: jax.Array, train: bool) -> jax.Array:
        rectified = nn.relu(x)
        y = self._normed(rectified, train, Conv, self.residual_width, 3, use_bias=False)
        y = self._normed(nn.relu(y), train, Conv, self.width, 1, use_bias=False)
        return (rectified if self.relu_skip else x) + y

    def _residual_blocks(self, x: jax.Array, train: bool) -> jax.Array:
        block = rematerialized(_DeepMind._residual_block, self.remat)
        for _ in range(self.blocks):
            x = block(self, x, train)
        return nn.relu(x)


class DeepMindEncoder(_DeepMind):
    """Encoder of strided convolutions, a 3 x 3, residual blocks, and a 1 x 1 to `features`; fields: `_DeepMind`'s."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Encode: (B, H, W, C) -> (B, H / 2 ** stages, W / 2 ** stages, features)."""
        for stage in range(self.stages):
            width = self.width if stage else max(1, self.width // 2)
            x = nn.relu(self._normed(x, train, Conv, width, 4, 2))
        x = self._residual_blocks(self._normed(x, train, Conv, self.width, 3), train)
        return self._layer(Conv, self.features, 1)(x)


class DeepMindDecoder(_DeepMind):
    """Decoder of a 3 x 3, residual blocks, and transposed convolutions to `features`; fields: `_DeepMind`'s."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Decode: (B, h, w, D) -> (B, h * 2 ** stages, w * 2 ** stages, features)."""
        x = self._residual_blocks(self._normed(x, train, Conv, self.width, 3), train)
        for stage in range(self.stages - 1, 0, -1):
            width = self.width if stage > 1 else max(1, self.width // 2)
            x = nn.relu(self._normed(x, train, ConvTranspose, width, 4, 2))
        if self.stages:
            return self._layer(ConvTranspose, self.features, 4, 2)(x)
        return self._layer(Conv, self.features, 3)(x)


class _OpenAI(nn.Module):
    """Networks of DALL-E's discrete VAE (Ramesh et al. 2021, appendix A.1).

    They are groups of residual bottleneck blocks. The group next to the image has `width` channels, each further one
    twice as many. Between groups the encoder has max-pooling by 2, the decoder nearest-neighbor upsampling.

    Attributes:
      features: channels of the result, given by the model.
      width: channels of the group next to the image, a multiple of 4.
      groups: number of groups; the total stride is 2 ** (groups - 1).
      blocks: residual blocks per group.
      kernel_init: name of the kernels' initializer, an entry of INITIALIZERS.
      remat: compute blocks again for the gradient, which takes less memory and more time.
      dtype: type that the network computes in.
    """

    features: int
    width: Annotated[int, Multiple(4), Range(4, 2**16)]
    groups: Annotated[int, Range(1, 8)]
    blocks: Depth
    kernel_init: Annotated[str, OneOf(INITIALIZERS)]
    remat: bool = False
    dtype: Any = jnp.float32

    @property
    def stride(self) -> int:
        """Pixels per position of the latent grid, in each direction."""
        return 2 ** (self.groups - 1)

    def _conv(self, features: int, kernel_size: int) -> Conv:
        return Conv(features, kernel_size, kernel_init=self.kernel_init, dtype=self.dtype)

    def _block(self, x: jax.Array, shape: tuple[int, tuple[int, ...]]) -> jax.Array:
        """Apply a residual block of `shape` (width, kernel sizes): id(x) + gain * four convolutions, each after a ReLU.

        The gain is 1 / (number of all blocks) ** 2. Where the width changes, id is a 1 x 1 convolution.
        """
        (width, kernel_sizes), y = shape, x
        for kernel_size, features in zip(kernel_sizes, 3 * (width // 4,) + (width,)):
            y = self._conv(features, kernel_size)(nn.relu(y))
        if x.shape[-1] != width:
            x = self._conv(width, 1)(x)
        return x + y / (self.groups * self.blocks) ** 2

    def _group(self, x: jax.Array, width: int, kernel_sizes: tuple[int, ...]) -> jax.Array:
        block = rematerialized(_OpenAI._block, self.remat)
        for _ in range(self.blocks):
            x = block(self, x, (width, kernel_sizes))
        return x


class OpenAIEncoder(_OpenAI):
    """Encoder of a 7 x 7 stem, the groups, and a 1 x 1 to `features`; fields: `_OpenAI`'s."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Encode: (B, H, W, C) -> (B, H / 2 ** (groups - 1), W / 2 ** (groups - 1), features)."""
        x = self._conv(self.width, 7)(x)
        for group in range(self.groups):
            if group:
                x = max_pool(x)
            x = self._group(x, self.width * 2**group, (3, 3, 3, 1))
        return self._conv(self.features, 1)(nn.relu(x))


class OpenAIDecoder(_OpenAI):
    """Decoder of the groups, from the widest to the narrowest, and a 1 x 1 to `features`; fields: `_OpenAI`'s."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Decode: (B, h, w, D) -> (B, h * 2 ** (groups - 1), w * 2 ** (groups - 1), features)."""
        x = x.astype(self.dtype)
        for group in reversed(range(self.groups)):
            x = self._group(x, self.width * 2**group, (1, 3, 3, 3))
            if group:
                x = x.repeat(2, axis=1).repeat(2, axis=2)
        return self._conv(self.features, 1)(nn.relu(x))


ENCODERS = {"deepmind": DeepMindEncoder, "openai": OpenAIEncoder, "vqgan": VQGANEncoder}
DECODERS = {"deepmind": DeepMindDecoder, "openai": OpenAIDecoder, "vqgan": VQGANDecoder}
