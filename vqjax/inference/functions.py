"""Pure functions of a trained autoencoder: images to codes and vectors, codes or vectors to images."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vqjax.codes import Codes
from vqjax.inference.inputs import check_image_shape, check_size, to_pixel_levels
from vqjax.system.errors import InputError
from vqjax.tasks.autoencoder import AutoencoderTask


class Vectors(NamedTuple):
    """Vectors of images, an array (N, h, w, D), or a dict {level's name: array} where there are several levels.

    Attributes:
      z: the encoder's.
      z_q: the quantized ones, which `decode` takes; their gradient to z is the quantizer's, such as straight-through.
    """

    z: Any
    z_q: Any


class Functions(NamedTuple):
    """Pure functions, for one's own step under jit, grad and vmap.

    Attributes:
      encode: (variables, images, vectors=False) -> codes or, with `vectors`, Vectors. Images are those of
        `Tokenizer.encode`, as arrays; their values are not checked.
      decode: (variables, codes) -> images (N, H, W, C) float32 in [0, 1], of integer codes or of vectors z_q. Values
        are not checked.
      variables: {"params", collection, ...}, on the device.
    """

    encode: Callable[..., Any]
    decode: Callable[..., jax.Array]
    variables: dict[str, Any]


def pure_functions(task: AutoencoderTask, variables: Mapping[str, Any]) -> Functions:
    """Return the functions of an autoencoder with those variables."""
    encode = jax.jit(functools.partial(_encode, task), static_argnames="vectors")
    return Functions(encode, jax.jit(functools.partial(decode, task)), jax.device_put(dict(variables)))


def _encode(task: AutoencoderTask, variables: Mapping, images: Any, vectors: bool = False) -> Any:
    check_image_shape(images.shape, task.image_shape)
    images = images[..., None] if images.ndim == 3 else images
    height, width = images.shape[-3:-1]
    check_size(height, width, max(task.module.strides))
    return encode_vectors(task, variables, images) if vectors else encode(task, variables, images)


def encode(task: AutoencoderTask, variables: Mapping, images: jax.Array) -> Codes:
    """Return the codes of images (N, H, W, C), uint8 or floats in [0, 1]; traceable."""
    if task.layout is None:
        quantizer = task.settings.model.values["quantizer"]
        raise InputError(f"a model of config.model.quantizer={quantizer!r} has no codes")
    return task.encode(variables, to_pixel_levels(images))


def encode_vectors(task: AutoencoderTask, variables: Mapping, images: jax.Array) -> Vectors:
    """Return the vectors of images as for `encode`; traceable, with gradients to images and variables."""
    coded = task.apply_eval(variables, {"image": to_pixel_levels(images)})
    return Vectors(task.by_level(coded.vectors), task.by_level([level.z_q for level in coded.quantized]))


def decode(task: AutoencoderTask, variables: Mapping, codes: Codes) -> jax.Array:
    """Return the images (N, H, W, C) in [0, 1] of codes, or of vectors z_q; traceable.

    Every image that this package decodes from codes comes from here, in full float32: the same on every device.
    """
    with jax.default_matmul_precision("highest"):
        if all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(codes)):
            return task.decode_vectors(variables, codes)
        return task.decode(variables, codes)


def to_uint8(images: Any) -> Any:
    """Return images in [0, 1], NumPy's or JAX's, as uint8; traceable."""
    return (255 * images).round().astype("uint8")
