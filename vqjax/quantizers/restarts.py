"""Codebooks that follow the use of their codes: a start from k-means, and restarts of dead codes."""

import math
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import Decay, Range
from vqjax.ops.kmeans import kmeans
from vqjax.quantizers.codebook import Codebook
from vqjax.system.errors import InputError

_KMEANS_VECTORS = 64, 20_000, 2  # for k-means: for each code, at most, for each code at least
RAREST = 1e-8  # a running frequency below this no longer matters, and need not decay
_PATIENCE = 20  # uses that a code of mean use would have had by the time that it counts as dead


class RestartingCodebook(Codebook):
    """A codebook that follows the use of its codes. Subclasses have `_put`, `_replace` and `_scale`.

    The running frequency of each code is in the collection `codebook`.

    Attributes:
      kmeans: start from the k-means centers of encoder vectors.
      dead_code_threshold: a code whose running frequency is below this / K is dead, and restarts on a random vector of
        the batch; 0 turns this off. Where K is so large that codes in use wait long for their turn, they are given
        the time (`_dead`).
      decay: of the running means, per step.
    """

    kmeans: bool = True
    dead_code_threshold: Annotated[float, Range(0, 1)] = 0.01
    decay: Decay = 0.99

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, also for a gradient that needs restarts, without them."""
        super().check(key)
        if self._estimator.trains_codebook and not self.dead_code_threshold:
            raise InputError(
                f"{key}.dead_code_threshold=0.0: expected more than 0, since with {key}.gradient={self.gradient!r} "
                "unused codes do not move"
            )

    @property
    def initial_vectors(self) -> int:
        """Number of the encoder's vectors that `initialize` wants."""
        per_code, most, least_per_code = _KMEANS_VECTORS
        return max(min(per_code * self.num_codes, most), least_per_code * self.num_codes) if self.kmeans else 0

    def _uniform(self, _: Any = None) -> jax.Array:
        return jnp.full((self.num_codes,), 1 / self.num_codes, jnp.float32)

    def _average(self, old: jax.Array, new: jax.Array, unused: jax.Array | bool) -> jax.Array:
        return jnp.where(unused, old, self.decay * old + (1 - self.decay) * new)

    def initialize(self, vectors: Any, seed: int) -> None:
        """Put the codebook on the k-means centers of the vectors (N, D), N >= K. Not traceable."""
        centers = kmeans(np.asarray(self.project(self._float32(vectors))), self.num_codes, seed)
        # By NumPy: JAX would compile each of the operations, for this once.
        self._put(np.full(self.num_codes, 1 / self.num_codes, np.float32), centers)

    def after_update(self, z: jax.Array, gather: Callable[[jax.Array], jax.Array], key: jax.Array) -> None:
        """Restart dead codes on distinct vectors of the global batch; if these are too few, some codes wait.

        The devices exchange vectors only in a step with a dead code. Which codes are dead follows from the running
        frequency, which is the same on every device, so all of them take the same branch.
        """
        if not self.dead_code_threshold:
            return
        vectors = self.project(self._float32(z)).reshape(-1, self.vector_dim)
        positions, _ = jax.eval_shape(gather, vectors).shape
        dead = self._dead(positions)

        def restart(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
            vectors = gather(vectors)  # (N, V)
            order, distinct = _distinct_first(vectors, key)
            turn = jnp.cumsum(dead) - 1  # (K,), among the dead
            return (dead & (turn < distinct))[:, None], vectors[order[jnp.clip(turn, 0, len(vectors) - 1)]]

        def keep(_: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.zeros((self.num_codes, 1), bool), jnp.zeros((self.num_codes, self.vector_dim), jnp.float32)

        self._replace(*jax.lax.cond(dead.any(), restart, keep, vectors))

    def _dead(self, positions: int) -> jax.Array:
        """Return which codes (K,) are dead, by the positions of a step; slow down those that may be.

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

    def _put(self, frequency: np.ndarray, codebook: np.ndarray) -> None:
        """Set the running frequency (K,) and the codes' vectors (K, V)."""
        raise NotImplementedError

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        """Put the codes of a mask (K, 1) on vectors (K, V), at the frequency 1 / K."""
        raise NotImplementedError

    def _scale(self, factors: jax.Array) -> None:
        """Multiply the running frequencies by factors (K,), the codes' vectors staying as they are."""
        raise NotImplementedError


def _distinct_first(vectors: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a random order (N,) of vectors (N, V), repeated ones at its end, and the number of distinct ones.

    Vectors count as repeated if a hash of their bits is; different vectors hardly ever are.
    """
    # The same factors in all steps, which spares drawing them; odd ones, so that no bits are lost.
    factors = np.random.default_rng(0).integers(2**32, size=vectors.shape[1], dtype=np.uint32)
    bits = jax.lax.bitcast_convert_type(vectors, jnp.uint32)
    bits ^= bits >> 16  # what was bfloat16 differs in the upper half alone
    hashes = jnp.sum(bits * (factors | 1), axis=1, dtype=jnp.uint32)
    by_hash = jnp.argsort(hashes)
    repeats = jnp.diff(hashes[by_hash], prepend=~hashes[by_hash[:1]]) == 0
    repeated = jnp.zeros(len(vectors), bool).at[by_hash].set(repeats)
    return jnp.argsort(jax.random.uniform(key, (len(vectors),)) + repeated), jnp.sum(~repeated)
