"""Random flips and crops, inside the compiled step."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vqjax.core.config import InputError


def fields(config: ConfigDict, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The arguments of `augment` in `config.data`. Raises InputError if images of (H, W, C) are too small for them."""
    crop, size = config.data.crop, min(shape[:2])
    if not crop < size:
        raise InputError(f"config.data.crop={crop}: expected less than the image's {size}")
    return {"flip": config.data.flip, "crop": crop}


def augment(images: jax.Array, example: jax.Array, key: jax.Array, flip: bool, crop: int) -> jax.Array:
    """Random flips and crops of images (B, H, W, C), each keyed by (key, its position in the global batch).

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
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        if crop:
            padded = jnp.pad(image, ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
            row, column = jax.random.randint(crop_key, (2,), 0, 2 * crop + 1)
            image = jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)
        return image

    return jax.vmap(one)(images, example) if flip or crop else images
