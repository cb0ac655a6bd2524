"""Random flips and crops, inside the compiled step."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.config.schema import Data
from vqjax.system.errors import InputError


def augment_options(data: Data, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments of `augment` in `config.data`. InputError if images (..., H, W, C) are too small."""
    crop, size = data.crop, min(shape[-3:-1])
    if not crop < size:
        raise InputError(f"config.data.crop={crop}: expected less than the image's {size}")
    return {"flip": data.flip, "crop": crop}


def augment(images: jax.Array, example: jax.Array, key: jax.Array, flip: bool, crop: int) -> jax.Array:
    """Flip and crop images (B, H, W, C) at random, each keyed by (key, its position in the global batch).

    All frames of a clip (B, T, H, W, C) are changed alike.

    Args:
      images: any dtype.
      example: (B,) positions in the global batch.
      key: of the step.
      flip: mirror left and right with probability 1/2.
      crop: pad by this many pixels on every side by reflection, then cut the old size out at random.
    """

    def one(image: jax.Array, position: jax.Array) -> jax.Array:
        flip_key, crop_key = jax.random.split(jax.random.fold_in(key, position))
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[..., ::-1, :], image)
        if crop:
            frames = (0,) * (image.ndim - 3)
            padding = [(side, side) for side in (*frames, crop, crop, 0)]
            row, column = jax.random.randint(crop_key, (2,), 0, 2 * crop + 1)
            padded = jnp.pad(image, padding, mode="reflect")
            image = jax.lax.dynamic_slice(padded, (*frames, row, column, 0), image.shape)
        return image

    return jax.vmap(one)(images, example) if flip or crop else images
