"""What the quantizers with a codebook of vectors share: the nearest code, the k-means start, the restart."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.core.config import Decay, InputError, NonNegativeFloat, Positive, Range
from vqjax.quantizers.contract import Quantizer
from vqjax.quantizers.kmeans import kmeans

KMEANS_VECTORS = 20_000  # encoder vectors that k-means looks at, at most


def squared_distances(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """||z_n - e_k||^2 less ||z_n||^2, which no choice of k depends on: (..., D), (K, D) -> (..., K), float32."""
    products = jnp.einsum("...d,kd->...k", z, codebook, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(codebook**2, axis=-1) - 2 * products


class Codebook(Quantizer):
    """What the quantizers with a codebook of vectors share.

    Attributes:
      code_dim: D.
      num_codes: K.
      beta: weight of the commitment loss.
      kmeans: start from the k-means centres of encoder vectors.
      restart: a code whose running frequency is below restart / K takes the place of a random vector of
        the batch; 0 turns this off.
      decay: of the running means, per step.
    """

    num_codes: Positive
    beta: NonNegativeFloat = 1.0
    kmeans: bool = True
    restart: Annotated[float, Range(0, 1)] = 0.01
    decay: Decay = 0.99

    @property
    def initial_vectors(self) -> int:
        """How many of the encoder's vectors `initialise` wants."""
        return KMEANS_VECTORS if self.kmeans else 0

    def check(self, key: str) -> None:
        """Raises InputError, naming the config's `key`, if the fields contradict each other."""
        if self.kmeans and self.num_codes > KMEANS_VECTORS:
            raise InputError(
                f"{key}.num_codes={self.num_codes}: expected at most {KMEANS_VECTORS} with {key}.kmeans=True"
            )

    def _uniform(self, _: Any = None) -> jax.Array:
        return jnp.full((self.num_codes,), 1 / self.num_codes, jnp.float32)

    def _nearest(self, z: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
        """z (..., D) -> the nearest codes (...) and their one-hot rows (..., K)."""
        codes = jnp.argmin(squared_distances(z, codebook), axis=-1)
        return codes, jax.nn.one_hot(codes, self.num_codes, dtype=jnp.float32)

    def _average(self, old: jax.Array, new: jax.Array, unused: jax.Array | bool) -> jax.Array:
        return jnp.where(unused, old, self.decay * old + (1 - self.decay) * new)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """(...,) codes -> (..., D) vectors, float32."""
        return jnp.take(self.codebook(), codes, axis=0)

    def initialise(self, vectors: jax.Array, seed: int) -> None:
        """Puts the codebook on the k-means centres of the vectors (N, D), N >= K. Not traceable."""
        centres = kmeans(np.asarray(vectors, np.float32), self.num_codes, seed)
        self._replace(jnp.ones((self.num_codes, 1), bool), jnp.asarray(centres, jnp.float32))

    def refresh(self, z: jax.Array, key: jax.Array) -> None:
        """Restarts the dead codes on random vectors of the global batch z (..., D)."""
        if self.restart:
            frequency: jax.Array = self.get_variable("codebook", "frequency")
            vectors = z.reshape(-1, self.code_dim).astype(jnp.float32)
            rows = jax.random.randint(key, (self.num_codes,), 0, len(vectors))
            self._replace((frequency < self.restart / self.num_codes)[:, None], vectors[rows])
