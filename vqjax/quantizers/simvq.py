"""A codebook that is a linear map of fixed random vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.ops.matmul import matmul
from vqjax.quantizers.codebook import Codebook


class SimVQ(Codebook):
    """Codes that one linear map moves together (Zhu et al. 2024); fields and loss as in `Codebook`.

    e_k = W c_k with c_k drawn once from N(0, 1 / V), and W trained, from the identity on. Every gradient moves all
    codes, so that none is left behind, and nothing has to be restarted. For large K.
    """

    def setup(self):
        super().setup()
        self._coefficients = self.variable("constants", "coefficients", self._initial_coefficients)
        self._basis = self.param("basis", lambda _: jnp.eye(self.vector_dim))

    def _initial_coefficients(self) -> jax.Array:
        initializer = nn.initializers.normal(self.vector_dim**-0.5)
        return initializer(self.make_rng("params"), (self.num_codes, self.vector_dim))

    def stored_codebook(self) -> jax.Array:
        """Return W c_k of all codes, (K, V)."""
        return matmul(self._coefficients.value, self._basis.T, jax.lax.Precision.HIGHEST)
