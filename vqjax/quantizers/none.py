"""No quantization."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.quantizers.base import Quantized, Quantizer


class Identity(Quantizer):
    """No quantization: what the others are measured against. There are no codes, so no second stage."""

    num_codes = 0

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Quantized:
        """z (..., D) -> Quantized whose z_q is z."""
        return Quantized(z, None, jnp.zeros((), jnp.float32), {})
