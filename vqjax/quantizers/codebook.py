"""Codebooks of vectors: the nearest code, its losses, the space in which codes are compared."""

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from vqjax.config.annotations import Codes, OneOf, Range, Weight
from vqjax.ops.matmul import Dense
from vqjax.ops.memory import device_memory
from vqjax.ops.search import code_frequency, nearest_codes
from vqjax.quantizers.base import Quantized, Quantizer
from vqjax.quantizers.estimators import ESTIMATORS, Estimator
from vqjax.system.errors import InputError

_MIN_SQUARE = 1e-12  # of a vector's length, where it is made 1


class Codebook(Quantizer):
    """A codebook of vectors, of which z gets the nearest. Subclasses have `stored_codebook` and maybe `follow`.

    loss = ||sg[z] - e||^2 + beta ||z - sg[e]||^2, means over positions and channels (van den Oord et al. 2017, eq. 3);
    0 with a `gradient` that trains the codebook.

    Attributes:
      code_dim: D.
      num_codes: K.
      beta: weight of the commitment loss.
      gradient: an entry of ESTIMATORS.
      cosine: compare directions: vectors and codes have length 1 (Yu et al. 2021, sec. 3.2).
      projection: V, numbers to which a linear map takes the encoder's vectors before all else; 0: none, V is D.
    """

    num_codes: Codes
    beta: Weight = 1.0
    gradient: Annotated[str, OneOf(ESTIMATORS)] = "straight_through"
    cosine: bool = False
    projection: Annotated[int, Range(0, 2**16)] = 0

    copies: ClassVar[int] = 4  # of the codebook in training: itself, its gradient and the optimizer's two moments

    def setup(self):
        if self.projection:
            self._projection = Dense(self.projection, precision=jax.lax.Precision.HIGHEST, name="projection")

    @property
    def vector_dim(self) -> int:
        """V, the numbers of a code's vector: the channels that the decoder sees."""
        return self.projection or self.code_dim

    @property
    def _estimator(self) -> Estimator:
        return ESTIMATORS[self.gradient]

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, for codes on a line, or more than the memory holds."""
        if self.cosine and self.vector_dim < 2:
            raise InputError(f"{key}.cosine=True: expected vectors of 2 numbers or more; of 1 number, all are 1 or -1")
        needed, limit = 4 * self.copies * self.num_codes * self.vector_dim, device_memory()
        if limit is not None and needed > limit:
            raise InputError(
                f"{key}.num_codes={self.num_codes}: {self.vector_dim:,} numbers each take {needed / 2**30:,.0f} GiB in "
                f"training, expected at most the {limit / 2**30:,.0f} GiB of a device; {key}.projection shortens them"
            )

    def project(self, z: jax.Array) -> jax.Array:
        """Map the encoder's vectors (..., D) to those that are compared with the codes, (..., V)."""
        return self._normalized(self._projection(z) if self.projection else z)

    def _normalized(self, vectors: jax.Array) -> jax.Array:
        """Return vectors (..., V) at length 1 if directions are compared, else as they are."""
        if not self.cosine:
            return vectors
        square = jnp.sum(vectors**2, axis=-1, keepdims=True)
        return vectors / jnp.sqrt(jnp.maximum(square, _MIN_SQUARE))

    def stored_codebook(self) -> jax.Array:
        """Return the codes' vectors (K, V) float32, of any length."""
        raise NotImplementedError

    def codebook(self) -> jax.Array:
        """Return the codes' vectors (K, V) float32, of length 1 if directions are compared.

        They are normalized here, wherever they are used: after each step, each update of means and each restart, and
        with a gradient that knows of it.
        """
        return self._normalized(self.stored_codebook())

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Return the vectors of codes: (...) -> (..., V) float32."""
        return jnp.take(self.codebook(), codes, axis=0)

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        """Quantize z (..., V) with the codebook as it is; with `train`, the running statistics then follow."""
        codes = nearest_codes(jax.lax.stop_gradient(z), jax.lax.stop_gradient(self.codebook()))
        e = self.lookup(codes)
        frequency = code_frequency(codes, self.num_codes)
        loss, terms = jnp.zeros((), jnp.float32), dict[str, jax.Array]()
        if not self._estimator.trains_codebook:
            loss, terms = self.losses(z, e)
        if train and not self.is_initializing():
            self.follow(jax.lax.stop_gradient(z), codes)
        return Quantized(e, codes, loss, {**terms, "code_frequency": frequency})

    def losses(self, z: jax.Array, e: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss () and its terms, from z and the vectors of its codes, both (..., V)."""
        codebook_loss = jnp.mean((jax.lax.stop_gradient(z) - e) ** 2)
        commitment_loss = jnp.mean((z - jax.lax.stop_gradient(e)) ** 2)
        terms = {"codebook_loss": codebook_loss, "commitment_loss": commitment_loss}
        return codebook_loss + self.beta * commitment_loss, terms

    def follow(self, z: jax.Array, codes: jax.Array) -> None:
        """Update running statistics from z (..., V) and its codes (...)."""

    def estimate(self, z: jax.Array, z_q: jax.Array) -> jax.Array:
        """Return the vectors z_q (..., V) with the gradient to z (..., V) that `gradient` says."""
        return self._estimator.output(z, z_q)
