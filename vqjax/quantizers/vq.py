"""A codebook that a gradient trains."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.search import code_frequency
from vqjax.quantizers.restarts import RestartingCodebook


class VQ(RestartingCodebook):
    """A codebook trained by its gradient (van den Oord et al. 2017, eq. 3); fields and loss as in `Codebook`.

    The running frequency only serves the restart of dead codes.
    """

    def setup(self):
        super().setup()
        initializer = nn.initializers.variance_scaling(1, "fan_out", "uniform")
        self._embedding = self.param("codebook", initializer, (self.num_codes, self.vector_dim))
        self._frequency = self.variable("codebook", "frequency", self._uniform)

    def stored_codebook(self) -> jax.Array:
        """Return the parameter (K, V)."""
        return self._embedding

    def follow(self, z: jax.Array, codes: jax.Array) -> None:
        """Update the running frequency from the codes (...) of z."""
        frequency = code_frequency(codes, self.num_codes)
        self._frequency.value = self._average(self._frequency.value, frequency, False)

    def _put(self, frequency: np.ndarray, codebook: np.ndarray) -> None:
        self.put_variable("params", "codebook", jax.device_put(codebook))
        self._frequency.value = jax.device_put(frequency)

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        self.put_variable("params", "codebook", jnp.where(mask, vectors, self._embedding))
        self._frequency.value = jnp.where(mask[:, 0], self._uniform(), self._frequency.value)

    def _scale(self, factors: jax.Array) -> None:
        self._frequency.value = self._frequency.value * factors
