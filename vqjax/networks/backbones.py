"""Backbones and heads of classifiers.

A backbone maps images (B, H, W, C) on [-1, 1] to features (B, h, w, F). F is its `features`, and `size_error(H, W)` is
the reason why it cannot take images of that size, or None. A head maps features to logits. It is called as
`head(features, train, keys)`, with a PRNG key per example for dropout, and built from `num_classes`, `dtype` and its
fields.
"""

import functools
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.config.annotations import Depth, Range, Rate, Width
from vqjax.networks.encoders import DeepMindEncoder
from vqjax.networks.layers import BatchNorm, Conv, dropout
from vqjax.ops.conv import max_pool


class _Normed(nn.Module):
    """Convolution without bias, and batch norm.

    Attributes:
      features: output channels.
      kernel_size: k, for a k x k kernel.
      stride: s.
      dtype: type that the layer computes in.
    """

    features: int
    kernel_size: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Convolve and normalize: (B, H, W, C) -> (B, ceil(H / s), ceil(W / s), features)."""
        conv = Conv(self.features, self.kernel_size, self.stride, False, kernel_init="kaiming", dtype=self.dtype)
        return BatchNorm(self.dtype)(conv(x), train)


class ResNet18(nn.Module):
    """ResNet-18 in its form for small images (He et al. 2016, sec. 4.1): a 3 x 3 stem and no pooling after it.

    There are four stages of two blocks of two 3 x 3 convolutions. Each stage after the first has half the size and
    twice the width of the one before. A block that changes the shape has a 1 x 1 convolution in its skip connection.
    The total stride is 8.

    Attributes:
      width: channels of the first stage; 64 in the paper.
      dtype: type that the network computes in.
    """

    width: Width
    dtype: Any = jnp.float32

    @property
    def features(self) -> int:
        """Channels of the result, F."""
        return 8 * self.width

    def size_error(self, height: int, width: int) -> None:
        """Return None: images of any size will do."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Compute features: (B, H, W, C) -> (B, ceil(H / 8), ceil(W / 8), 8 width)."""
        layer = functools.partial(_Normed, dtype=self.dtype)
        x = nn.relu(layer(self.width, 3, 1)(x, train))
        for stage in range(4):
            features = self.width * 2**stage
            for stride in (2 if stage else 1, 1):
                y = nn.relu(layer(features, 3, stride)(x, train))
                y = layer(features, 3, 1)(y, train)
                if x.shape != y.shape:
                    x = layer(features, 1, stride)(x, train)
                x = nn.relu(x + y)
        return x


class SmallConvNet(nn.Module):
    """Plain network for digits of 8 x 8 to 28 x 28 pixels: stages of two 3 x 3 convolutions and a 2 x 2 max-pooling.

    Attributes:
      width: channels of the first stage; each later stage has twice as many as the one before.
      stages: number of stages, each of which halves the image.
      dtype: type that the network computes in.
    """

    width: Width
    stages: Annotated[int, Range(1, 8)]
    dtype: Any = jnp.float32

    @property
    def features(self) -> int:
        """Channels of the result, F."""
        return self.width * 2 ** (self.stages - 1)

    def size_error(self, height: int, width: int) -> str | None:
        """Return the reason why images of that size will not do, or None."""
        return f"after {self.stages} stages nothing is left of" if min(height, width) < 2**self.stages else None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Compute features: (B, H, W, C) -> (B, H // 2 ** stages, W // 2 ** stages, width 2 ** (stages - 1))."""
        for stage in range(self.stages):
            for _ in range(2):
                x = nn.relu(_Normed(self.width * 2**stage, 3, 1, self.dtype)(x, train))
            x = max_pool(x)
        return x


class DeepMind(DeepMindEncoder):
    """Encoder of stage 1 as a backbone; the fields are `_DeepMind`'s, with `features` for F."""

    features: Width

    def size_error(self, height: int, width: int) -> str | None:
        """Return the reason why images of that size will not do, or None."""
        return f"the stride {self.stride} does not divide" if height % self.stride or width % self.stride else None


BACKBONES = {"resnet18": ResNet18, "deepmind": DeepMind, "small": SmallConvNet}


class _Head(nn.Module):
    """Base of the heads: dropout, and a linear map to the logits.

    Attributes:
      num_classes: number of classes, given by the data.
      dtype: type that convolutions compute in; the linear map is float32.
      dropout: share of the inputs of the linear map that training drops.
    """

    num_classes: int
    dtype: Any
    dropout: Rate

    def _logits(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
        """Compute logits: (B, F) -> (B, num_classes) float32."""
        return nn.Dense(self.num_classes)(dropout(x, self.dropout, keys).astype(jnp.float32))


class Pooled(_Head):
    """Linear map of the mean over positions; the fields are `_Head`'s."""

    @nn.compact
    def __call__(self, features: jax.Array, train: bool, keys: jax.Array | None = None) -> jax.Array:
        """Compute logits: (B, h, w, F) -> (B, num_classes) float32."""
        return self._logits(features.mean((1, 2)), keys)


class Flattened(_Head):
    """Linear map of all positions side by side; the fields are `_Head`'s."""

    @nn.compact
    def __call__(self, features: jax.Array, train: bool, keys: jax.Array | None = None) -> jax.Array:
        """Compute logits: (B, h, w, F) -> (B, num_classes) float32."""
        return self._logits(features.reshape(len(features), -1), keys)


class Convolutional(_Head):
    """3 x 3 convolutions with batch norm, the mean over positions, and a linear map; fields beside `_Head`'s:

    Attributes:
      width: channels.
      layers: number of convolutions; every second one halves the grid while both sides are above 4.
    """

    width: Width
    layers: Depth

    @nn.compact
    def __call__(self, features: jax.Array, train: bool, keys: jax.Array | None = None) -> jax.Array:
        """Compute logits: (B, h, w, F) -> (B, num_classes) float32."""
        x = features.astype(self.dtype)
        for layer in range(self.layers):
            stride = 2 if layer % 2 and min(x.shape[1:3]) > 4 else 1
            x = nn.relu(_Normed(self.width, 3, stride, self.dtype)(x, train))
        return self._logits(x.astype(jnp.float32).mean((1, 2)), keys)


HEADS = {"pooled": Pooled, "flattened": Flattened, "conv": Convolutional}
