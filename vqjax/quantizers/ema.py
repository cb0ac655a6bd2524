"""A codebook of running means."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.search import code_means, nearest_codes
from vqjax.quantizers.base import Quantized
from vqjax.quantizers.codebook import RAREST, Codebook
from vqjax.quantizers.estimators import straight_through


class EMA(Codebook):
    """A codebook of running means (van den Oord et al. 2017, appendix A.1); fields as in `Codebook`.

    It keeps two means over positions, the frequency of each code f_k and the sum of its vectors m_k, and the
    codebook is their quotient e_k = m_k / f_k. Both decay alike, so a code that is not used stays where
    it is. Means, not sums: their average over devices is the update on the whole batch.
    loss = beta ||z - sg[e]||^2, mean over positions and channels.
    """

    def setup(self):
        self._frequency = self.variable("codebook", "frequency", self._uniform)
        self._mean = self.variable("codebook", "mean", self._initial_mean)

    def _initial_mean(self) -> jax.Array:
        initializer = nn.initializers.variance_scaling(1, "fan_out", "normal")
        return initializer(self.make_rng("params"), (self.num_codes, self.code_dim)) / self.num_codes

    def codebook(self) -> jax.Array:
        """(K, D) float32."""
        return self._mean.value / self._frequency.value[:, None]

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Quantized:
        """z (..., D) -> Quantized with the codebook as it was; with `train`, the running means follow."""
        dtype, z = z.dtype, z.astype(jnp.float32)
        fixed_z = jax.lax.stop_gradient(z)
        codes = nearest_codes(fixed_z, self.codebook())
        e = self.lookup(codes)
        commitment_loss = jnp.mean((z - e) ** 2)
        frequency, mean = code_means(codes, fixed_z, self.num_codes)
        if train and not self.is_initializing():
            unused = self._frequency.value < RAREST  # or it would underflow
            unused &= frequency == 0
            self._frequency.value = self._average(self._frequency.value, frequency, unused)
            self._mean.value = self._average(self._mean.value, mean, unused[:, None])
        metrics = {"commitment_loss": commitment_loss, "code_frequency": frequency}
        return Quantized(straight_through(z, e).astype(dtype), codes, self.beta * commitment_loss, metrics)

    def _put(self, frequency: np.ndarray, codebook: np.ndarray) -> None:
        self._mean.value, self._frequency.value = jax.device_put((codebook * frequency[:, None], frequency))

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        frequency = jnp.where(mask[:, 0], self._uniform(), self._frequency.value)
        self._mean.value = jnp.where(mask, vectors * frequency[:, None], self._mean.value)
        self._frequency.value = frequency

    def _scale(self, factors: jax.Array) -> None:
        self._mean.value = self._mean.value * factors[:, None]
        self._frequency.value = self._frequency.value * factors
