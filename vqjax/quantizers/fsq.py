"""Codes by rounding, without a codebook."""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import Range
from vqjax.ops.matmul import Dense
from vqjax.ops.search import code_frequency
from vqjax.quantizers.base import Quantized, Quantizer
from vqjax.system.errors import InputError

_MAX_CODES = 2**18  # whose frequencies are kept


class FSQ(Quantizer):
    """Finite scalar quantization (Mentzer et al. 2024): few numbers per position, each rounded to one of few levels.

    A linear map to d numbers, each bounded to L levels and rounded (appendix A.1), is a code in mixed radix; scaled to
    [-1, 1] and mapped back it is the code's vector. The gradient passes straight through the rounding. All codes
    lie on a grid that is there from the start: nothing can collapse, and there is no loss.

    Attributes:
      code_dim: D.
      levels: L of each of the d numbers; num_codes is their product. The paper recommends at least 5 each.
    """

    levels: tuple[Annotated[int, Range(2, 2**16)], ...]

    @property
    def num_codes(self) -> int:
        """K, the product of the levels."""
        return math.prod(self.levels)

    def setup(self):
        # In half precision, or TF32, neighboring levels merge.
        self._numbers = Dense(len(self.levels), precision=jax.lax.Precision.HIGHEST, name="numbers")
        self._vectors = Dense(self.code_dim, precision=jax.lax.Precision.HIGHEST, name="vectors")

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, if there are no levels, or more codes than can be numbered."""
        if not self.levels or self.num_codes > _MAX_CODES:
            raise InputError(
                f"{key}.levels={self.levels}: expected one number or more, with a product of at most {_MAX_CODES}"
            )

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Return the vectors of codes: (...) -> (..., D) float32."""
        levels = np.array(self.levels, np.int32)
        digits = codes[..., None] // self._places % levels  # (..., d), each from 0 to L - 1
        return self._to_vectors((digits - levels // 2).astype(jnp.float32))

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        """Quantize z (..., D); training is as evaluation."""
        bounded = bound(self._numbers(z), self.levels)  # (..., d)
        rounded = jax.lax.stop_gradient(jnp.round(bounded))
        digits = rounded.astype(jnp.int32) + np.array(self.levels, np.int32) // 2
        codes = jnp.sum(digits * self._places, axis=-1)
        # Straight through, in the order of operations whose forward value is `rounded` to the last bit.
        z_q = self._to_vectors(rounded + (bounded - jax.lax.stop_gradient(bounded)))
        frequency = code_frequency(codes, self.num_codes)
        return Quantized(z_q, codes, jnp.zeros((), jnp.float32), {"code_frequency": frequency})

    @property
    def _places(self) -> np.ndarray:
        """Value of a 1 at each digit, (d,) int32: 1, L_1, L_1 L_2, …"""
        return np.cumprod([1, *self.levels[:-1]], dtype=np.int32)

    def _to_vectors(self, rounded: jax.Array) -> jax.Array:
        """Map levels (..., d), whole numbers about 0, to vectors (..., D)."""
        return self._vectors(rounded / (np.array(self.levels, np.float32) // 2))


def bound(x: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """Bound numbers (..., d) so that they round to L whole ones, from -(L // 2) on (Mentzer et al. 2024, app. A.1).

    tanh(x + shift) (L - 1) / 2 - offset, where offset is a half and shift takes 0 near 0 if L is even; else both are 0.
    The paper shortens the interval by a thousandth; with more than a thousand levels the outermost would be lost.
    """
    half = (np.array(levels, np.float32) - 1) / 2
    offset = np.where(np.array(levels) % 2, np.float32(0), np.float32(0.5))
    shift = np.tan(offset / half)  # almost arctanh, but finite for two levels
    return jnp.tanh(x + shift) * half - offset
