"""No quantization."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.quantizers.base import Quantized, Quantizer


class Identity(Quantizer):
    """No quantization, which the others are measured against. There are no codes, so no second stage."""

    num_codes = 0

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        """Return z (..., D) as it is."""
        return Quantized(z, None, jnp.zeros((), jnp.float32), {})
