"""What the quantizers with a codebook of vectors share: the nearest code, the k-means start, the restart."""

import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import Codes, Decay, Range, Weight
from vqjax.ops.kmeans import kmeans
from vqjax.quantizers.base import Quantizer

_KMEANS_VECTORS = 64, 20_000, 2  # encoder vectors that k-means looks at: for each code, at most, for each at least
RAREST = 1e-8  # a running frequency below this no longer matters, and need not decay
_PATIENCE = 20  # uses that a code of mean use would have had by the time that it counts as dead


class Codebook(Quantizer):
    """What the quantizers with a codebook of vectors share.

    Attributes:
      code_dim: D.
      num_codes: K.
      beta: weight of the commitment loss.
      kmeans: start from the k-means centres of encoder vectors.
      dead_code_threshold: a code whose running frequency is below this / K is dead, and restarts on a random vector of
        the batch; 0 turns this off. Where K is so large that codes in use wait long for their turn, they are given
        the time (`_dead`).
      decay: of the running means, per step.
    """

    num_codes: Codes
    beta: Weight = 1.0
    kmeans: bool = True
    dead_code_threshold: Annotated[float, Range(0, 1)] = 0.01
    decay: Decay = 0.99

    @property
    def initial_vectors(self) -> int:
        """How many of the encoder's vectors `initialise` wants."""
        enough, most, least = _KMEANS_VECTORS
        return max(min(enough * self.num_codes, most), least * self.num_codes) if self.kmeans else 0

    def _uniform(self, _: Any = None) -> jax.Array:
        return jnp.full((self.num_codes,), 1 / self.num_codes, jnp.float32)

    def _average(self, old: jax.Array, new: jax.Array, unused: jax.Array | bool) -> jax.Array:
        return jnp.where(unused, old, self.decay * old + (1 - self.decay) * new)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """(...,) codes -> (..., D) vectors, float32."""
        return jnp.take(self.codebook(), codes, axis=0)

    def initialize(self, vectors: jax.Array, seed: int) -> None:
        """Puts the codebook on the k-means centres of the vectors (N, D), N >= K. Not traceable."""
        centres = kmeans(np.asarray(vectors, np.float32), self.num_codes, seed)
        # By NumPy: JAX would compile each of the operations, for this once.
        self._put(np.full(self.num_codes, 1 / self.num_codes, np.float32), centres)

    def after_update(self, z: jax.Array, key: jax.Array) -> None:
        """Restarts dead codes on distinct vectors of the global batch z (..., D); if they are too few, some wait."""
        if self.dead_code_threshold:
            vectors = z.reshape(-1, self.code_dim).astype(jnp.float32)
            dead = self._dead(len(vectors))
            order, distinct = jax.lax.cond(
                dead.any(), _distinct_first, lambda *_: (jnp.arange(len(vectors)), len(vectors)), vectors, key
            )
            turn = jnp.cumsum(dead) - 1  # (K,), among the dead
            self._replace((dead & (turn < distinct))[:, None], vectors[order[jnp.clip(turn, 0, len(vectors) - 1)]])

    def _dead(self, positions: int) -> jax.Array:
        """Which codes (K,) are dead, by the positions of a step; those that may be get time to show themselves.

        A code that is used in the mean rate has N / K uses in a step of N positions, and none in s steps with
        probability exp(-s N / K). Its frequency, 1 / K in the mean, is then decay^s / K. That is below t / K, t the
        threshold, after s0 = ln(t) / ln(decay) steps: no sign of death unless many uses were due by then. So a code
        must be silent for s1 = _PATIENCE K / N steps at the least (a false alarm in exp(20) = 5e8 uses). If s1 <= s0,
        it is by the time that it falls below the limit. Else it is slowed down there: it loses half of its frequency,
        and is dead, in s1 - s0 steps. In an EMA both means are slowed down, so that their quotient, the code, stays.
        """
        limit = max(self.dead_code_threshold / self.num_codes, 4 * RAREST)
        frequency: jax.Array = self.get_variable("codebook", "frequency")
        low = frequency < limit
        waited = math.log(limit * self.num_codes) / math.log(self.decay) if self.decay else 0.0
        rest = _PATIENCE * self.num_codes / positions - waited
        if not self.decay or rest <= 0:
            return low
        self._scale(jnp.where(low, 0.5 ** (1 / rest) / self.decay, 1.0))
        slowed: jax.Array = self.get_variable("codebook", "frequency")
        return slowed < limit / 2


def _distinct_first(vectors: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A random order (N,) of vectors (N, D) with those that are there already at its end; how many the others are.

    Vectors are alike if a hash of their bits is: of those that are not, hardly ever two.
    """
    # The same factors for all steps, which spares to draw them; odd ones, so that no bits are lost.
    factors = np.random.default_rng(0).integers(2**32, size=vectors.shape[1], dtype=np.uint32)
    bits = jax.lax.bitcast_convert_type(vectors, jnp.uint32)
    bits ^= bits >> 16  # what was bfloat16 differs in the upper half alone
    hashes = jnp.sum(bits * (factors | 1), axis=1, dtype=jnp.uint32)
    by_hash = jnp.argsort(hashes)
    repeats = jnp.diff(hashes[by_hash], prepend=~hashes[by_hash[:1]]) == 0
    repeated = jnp.zeros(len(vectors), bool).at[by_hash].set(repeats)
    return jnp.argsort(jax.random.uniform(key, (len(vectors),)) + repeated), jnp.sum(~repeated)
