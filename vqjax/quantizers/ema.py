"""A codebook of running means."""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import OneOf
from vqjax.ops.search import code_means
from vqjax.quantizers.estimators import ESTIMATORS
from vqjax.quantizers.restarts import RAREST, RestartingCodebook


class EMA(RestartingCodebook):
    """A codebook of running means (van den Oord et al. 2017, appendix A.1); fields as in `Codebook`.

    It keeps two means over positions, the frequency of each code f_k and the sum of its vectors m_k, and the
    codebook is their quotient e_k = m_k / f_k. Both decay alike, so a code that is not used stays where
    it is. Means, not sums: their average over devices is the update on the whole batch.
    loss = beta ||z - sg[e]||^2, mean over positions and channels. No gradient trains the codebook.
    """

    gradient: Annotated[str, OneOf(name for name, e in ESTIMATORS.items() if not e.trains_codebook)] = (
        "straight_through"
    )

    copies: ClassVar[int] = 2  # the running mean, and the codebook that follows from it

    def setup(self):
        super().setup()
        self._frequency = self.variable("codebook", "frequency", self._uniform)
        self._mean = self.variable("codebook", "mean", self._initial_mean)

    def _initial_mean(self) -> jax.Array:
        initializer = nn.initializers.variance_scaling(1, "fan_out", "normal")
        return initializer(self.make_rng("params"), (self.num_codes, self.vector_dim)) / self.num_codes

    def stored_codebook(self) -> jax.Array:
        """Return the quotient of the two means, (K, V)."""
        return self._mean.value / self._frequency.value[:, None]

    def losses(self, z: jax.Array, e: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the commitment loss, weighted, and as it is; of z and the vectors of its codes, both (..., V)."""
        commitment_loss = jnp.mean((z - e) ** 2)
        return self.beta * commitment_loss, {"commitment_loss": commitment_loss}

    def follow(self, z: jax.Array, codes: jax.Array) -> None:
        """Update the two means from z (..., V) and its codes (...)."""
        frequency, mean = code_means(codes, z, self.num_codes)
        unused = self._frequency.value < RAREST  # or it would underflow
        unused &= frequency == 0
        self._frequency.value = self._average(self._frequency.value, frequency, unused)
        self._mean.value = self._average(self._mean.value, mean, unused[:, None])

    def _put(self, frequency: np.ndarray, codebook: np.ndarray) -> None:
        self._mean.value, self._frequency.value = jax.device_put((codebook * frequency[:, None], frequency))

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        frequency = jnp.where(mask[:, 0], self._uniform(), self._frequency.value)
        self._mean.value = jnp.where(mask, vectors * frequency[:, None], self._mean.value)
        self._frequency.value = frequency

    def _scale(self, factors: jax.Array) -> None:
        self._mean.value = self._mean.value * factors[:, None]
        self._frequency.value = self._frequency.value * factors
