"""A codebook that a gradient trains."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.search import code_frequency, nearest_codes
from vqjax.quantizers.base import Quantized
from vqjax.quantizers.codebook import Codebook
from vqjax.quantizers.estimators import straight_through


class VQ(Codebook):
    """A codebook trained by its gradient (van den Oord et al. 2017, eq. 3); fields as in `Codebook`.

    loss = ||sg[z] - e||^2 + beta ||z - sg[e]||^2, means over positions and channels. The running
    frequency only serves the restart of dead codes.
    """

    def setup(self):
        self._embedding = self.param(
            "codebook", nn.initializers.variance_scaling(1, "fan_out", "uniform"), (self.num_codes, self.code_dim)
        )
        self._frequency = self.variable("codebook", "frequency", self._uniform)

    def codebook(self) -> jax.Array:
        """(K, D) float32."""
        return self._embedding

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Quantized:
        """z (..., D) -> Quantized; with `train`, the running frequency follows."""
        dtype, z = z.dtype, z.astype(jnp.float32)
        codes = nearest_codes(jax.lax.stop_gradient(z), jax.lax.stop_gradient(self.codebook()))
        e = self.lookup(codes)
        codebook_loss = jnp.mean((jax.lax.stop_gradient(z) - e) ** 2)
        commitment_loss = jnp.mean((z - jax.lax.stop_gradient(e)) ** 2)
        frequency = code_frequency(codes, self.num_codes)
        if train and not self.is_initializing():
            self._frequency.value = self._average(self._frequency.value, frequency, False)
        metrics = {
            "codebook_loss": codebook_loss,
            "commitment_loss": commitment_loss,
            "code_frequency": frequency,
        }
        loss = codebook_loss + self.beta * commitment_loss
        return Quantized(straight_through(z, e).astype(dtype), codes, loss, metrics)

    def _put(self, frequency: np.ndarray, codebook: np.ndarray) -> None:
        self.put_variable("params", "codebook", jax.device_put(codebook))
        self._frequency.value = jax.device_put(frequency)

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        self.put_variable("params", "codebook", jnp.where(mask, vectors, self._embedding))
        self._frequency.value = jnp.where(mask[:, 0], self._uniform(), self._frequency.value)

    def _scale(self, factors: jax.Array) -> None:
        self._frequency.value = self._frequency.value * factors
