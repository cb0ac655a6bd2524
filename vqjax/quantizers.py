"""Vector quantizers: (B, h, w, D) vectors to the nearest of K codes and back.

Every quantizer is called as `quantizer(z, train, progress, noise) -> Quantized`, with the share of the run that is
done and a key per example, and gives `lookup(codes)` and `num_codes`. It changes its codebook from outside a
gradient step through two methods that are applied with every collection mutable: `initialise(vectors, seed)` once
before step 0, if it has `initial_vectors`, and `refresh(z, key)` after each update. Codebook, statistics, distances
and losses are float32 whatever the dtype of z.
"""

import warnings
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config import Decay, InputError, NonNegativeFloat, Positive, Range
from vqjax.schedules import Ramp

KMEANS_VECTORS = 20_000  # encoder vectors that k-means looks at, at most
_RAREST = 1e-8  # a code used less often no longer decays, and its logarithm no longer falls: neither underflows


class Quantized(NamedTuple):
    """What a quantizer makes of z (B, h, w, D).

    Attributes:
      z_q: (B, h, w, D), what the decoder sees, with the straight-through gradient.
      codes: (B, h, w) int32 in [0, num_codes); None if num_codes is 0.
      loss: (), the quantizer's own, already weighted, term of the objective.
      metrics: means over the batch: the parts of the loss, and `code_frequency` (K,).
    """

    z_q: jax.Array
    codes: jax.Array | None
    loss: jax.Array
    metrics: dict[str, jax.Array]


def squared_distances(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """||z_n - e_k||^2 less ||z_n||^2, which no choice of k depends on: (..., D), (K, D) -> (..., K), float32."""
    products = jnp.einsum("...d,kd->...k", z, codebook, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(codebook**2, axis=-1) - 2 * products


def straight_through(z: jax.Array, e: jax.Array) -> jax.Array:
    """Forward e, backward the identity to z: z + sg[e - z] (van den Oord et al. 2017, sec. 3.2)."""
    return z + jax.lax.stop_gradient(e - z)


def kmeans(vectors: np.ndarray, num_codes: int, seed: int) -> np.ndarray:
    """The centres (K, D) of Lloyd's algorithm with k-means++ seeds over vectors (N, D), N >= K.

    On one thread, because scikit-learn adds its threads' partial sums in the order in which they finish.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than codes: restart mends it
        return KMeans(num_codes, n_init=1, max_iter=20, random_state=seed).fit(vectors).cluster_centers_


class _Codebook(nn.Module):
    """What the quantizers with a codebook of vectors share.

    Attributes:
      code_dim: D, given by the model.
      num_codes: K.
      beta: weight of the commitment loss.
      kmeans: start from the k-means centres of encoder vectors.
      restart: a code whose running frequency is below restart / K takes the place of a random vector of
        the batch; 0 turns this off.
      decay: of the running means, per step.
    """

    code_dim: int
    num_codes: Positive
    beta: NonNegativeFloat
    kmeans: bool
    restart: Annotated[float, Range(0, 1)]
    decay: Decay

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
        """z (B, h, w, D) -> the nearest codes (B, h, w) and their one-hot rows (B, h, w, K)."""
        codes = jnp.argmin(squared_distances(z, codebook), axis=-1)
        return codes, jax.nn.one_hot(codes, self.num_codes, dtype=jnp.float32)

    def _average(self, old: jax.Array, new: jax.Array, unused: jax.Array) -> jax.Array:
        return jnp.where(unused, old, self.decay * old + (1 - self.decay) * new)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """(...,) codes -> (..., D) vectors, float32."""
        return jnp.take(self.codebook(), codes, axis=0)

    def initialise(self, vectors: jax.Array, seed: int) -> None:
        """Puts the codebook on the k-means centres of the vectors (N, D), N >= K. Not traceable."""
        centres = kmeans(np.asarray(vectors, np.float32), self.num_codes, seed)
        self._replace(jnp.ones((self.num_codes, 1), bool), jnp.asarray(centres, jnp.float32))

    def refresh(self, z: jax.Array, key: jax.Array) -> None:
        """Restarts the dead codes on random vectors of the global batch z (B, h, w, D)."""
        if self.restart:
            frequency = self.get_variable("codebook", "frequency")
            vectors = z.reshape(-1, self.code_dim).astype(jnp.float32)
            rows = jax.random.randint(key, (self.num_codes,), 0, len(vectors))
            self._replace((frequency < self.restart / self.num_codes)[:, None], vectors[rows])


class VQ(_Codebook):
    """A codebook trained by its gradient (van den Oord et al. 2017, eq. 3); fields as in `_Codebook`.

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

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, noise: Any = None) -> Quantized:
        """z (B, h, w, D) -> Quantized; with `train`, the running frequency follows."""
        dtype, z = z.dtype, z.astype(jnp.float32)
        codes, one_hot = self._nearest(jax.lax.stop_gradient(z), jax.lax.stop_gradient(self.codebook()))
        e = self.lookup(codes)
        codebook_loss = jnp.mean((jax.lax.stop_gradient(z) - e) ** 2)
        commitment_loss = jnp.mean((z - jax.lax.stop_gradient(e)) ** 2)
        frequency = one_hot.mean((0, 1, 2))
        if train and not self.is_initializing():
            self._frequency.value = self._average(self._frequency.value, frequency, False)
        metrics = {
            "codebook_loss": codebook_loss,
            "commitment_loss": commitment_loss,
            "code_frequency": frequency,
        }
        loss = codebook_loss + self.beta * commitment_loss
        return Quantized(straight_through(z, e).astype(dtype), codes, loss, metrics)

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        self.put_variable("params", "codebook", jnp.where(mask, vectors, self._embedding))
        self._frequency.value = jnp.where(mask[:, 0], self._uniform(), self._frequency.value)


class EMA(_Codebook):
    """A codebook of running means (van den Oord et al. 2017, appendix A.1); fields as in `_Codebook`.

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

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, noise: Any = None) -> Quantized:
        """z (B, h, w, D) -> Quantized with the codebook as it was; with `train`, the running means follow."""
        dtype, z = z.dtype, z.astype(jnp.float32)
        fixed_z = jax.lax.stop_gradient(z)
        codes, one_hot = self._nearest(fixed_z, self.codebook())
        e = self.lookup(codes)
        commitment_loss = jnp.mean((z - e) ** 2)
        frequency = one_hot.mean((0, 1, 2))
        if train and not self.is_initializing():
            positions = codes.size
            mean = jnp.einsum("bhwk,bhwd->kd", one_hot, fixed_z, precision=jax.lax.Precision.HIGHEST) / positions
            unused = self._frequency.value < _RAREST
            unused &= frequency == 0
            self._frequency.value = self._average(self._frequency.value, frequency, unused)
            self._mean.value = self._average(self._mean.value, mean, unused[:, None])
        metrics = {"commitment_loss": commitment_loss, "code_frequency": frequency}
        return Quantized(straight_through(z, e).astype(dtype), codes, self.beta * commitment_loss, metrics)

    def _replace(self, mask: jax.Array, vectors: jax.Array) -> None:
        frequency = jnp.where(mask[:, 0], self._uniform(), self._frequency.value)
        self._mean.value = jnp.where(mask, vectors * frequency[:, None], self._mean.value)
        self._frequency.value = frequency


class Gumbel(nn.Module):
    """Codes drawn from a distribution that the encoder gives, relaxed (Jang et al. 2017; Maddison et al. 2017).

    In training y = softmax((logits + g) / tau) with standard Gumbel noise g (Jang et al., eq. 2) and z_q is the mean
    of the embeddings under y; in evaluation the most probable code, without noise. The temperature and the weight
    of the KL divergence from the uniform prior follow the run; in evaluation they are those of its end.
    loss = kl_weight sum_k p_k ln(K p_k) + diversity_weight sum_k p_k ln(K f_k), p = softmax(logits), means over
    positions, in nats. The first term, the divergence, keeps each position undecided. The second keeps all codes in
    use: with f the mean of p it would be the diversity loss of Baevski et al. 2020 (eq. 4); with f the running mean
    it has the same gradient, is linear in the batch, and does not depend on the number of devices.

    Attributes:
      code_dim: D, given by the model.
      num_codes: K.
      hard: forward the one-hot of the largest y, backward y (the straight-through Gumbel-softmax).
      alignment: if not 0, each embedding starts in the direction of z that makes its code probable, and the logits are
        of this size where z is of size 1, so that z_q tells of z before anything is learned.
      temperature: tau, above 0. What is drawn if `hard` does not depend on it, only how many codes share the gradient.
      kl_weight: of the divergence in the objective.
      diversity_weight: of the diversity loss in the objective.
      decay: of the running mean of p, per step.
    """

    code_dim: int
    num_codes: Positive
    hard: bool
    alignment: NonNegativeFloat
    temperature: Ramp
    kl_weight: Ramp
    diversity_weight: NonNegativeFloat
    decay: Decay

    initial_vectors = 0  # nothing to start the embeddings from: the logits are not distances

    def setup(self):
        kernel_init = nn.initializers.variance_scaling(self.alignment**2 or 1.0, "fan_in", "truncated_normal")
        self._logits = nn.Dense(self.num_codes, kernel_init=kernel_init, name="logits")
        self._embedding = self.param("codebook", self._initial_embedding)
        uniform = lambda: jnp.full((self.num_codes,), 1 / self.num_codes, jnp.float32)  # noqa: E731
        self._frequency = self.variable("codebook", "frequency", uniform)

    def _initial_embedding(self, key: jax.Array) -> jax.Array:
        """(K, D): rows of norm about 1, or if they are aligned as long as a z of size 1."""
        if not self.alignment:
            initializer = nn.initializers.variance_scaling(1, "fan_out", "normal")
            return initializer(key, (self.num_codes, self.code_dim))
        directions = self._logits(jnp.eye(self.code_dim)).T  # there is no bias yet
        return jnp.sqrt(self.code_dim) * directions / jnp.linalg.norm(directions, axis=1, keepdims=True)

    def check(self, key: str) -> None:
        """Raises InputError, naming the config's `key`, if a temperature is not above 0."""
        for end in ("start", "end"):
            if not getattr(self.temperature, end) > 0:
                value = getattr(self.temperature, end)
                raise InputError(f"{key}.temperature.{end}={value}: expected greater than 0")

    def lookup(self, codes: jax.Array) -> jax.Array:
        """(...,) codes -> (..., D) vectors, float32."""
        return jnp.take(self._embedding, codes, axis=0)

    def initialise(self, vectors: jax.Array, seed: int) -> None:
        """Nothing to do."""

    def refresh(self, z: jax.Array, key: jax.Array) -> None:
        """Nothing to do: the losses keep the codes alive."""

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, noise: Any = None) -> Quantized:
        """z (B, h, w, D) -> Quantized; in training `noise` holds a key (B,) per example."""
        logits = self._logits(z.astype(jnp.float32))  # (B, h, w, K)
        progress = progress if train else 1.0
        divergence, diversity = kl_to_uniform(logits), self._diversity(logits, train)
        temperature, weight = self.temperature(progress), self.kl_weight(progress)
        sampled = train and noise is not None
        if sampled:
            gumbels = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(noise)
            y = jax.nn.softmax((logits + gumbels) / temperature)
        codes = jnp.argmax(y if sampled else logits, axis=-1)
        one_hot = jax.nn.one_hot(codes, self.num_codes, dtype=jnp.float32)
        if sampled:
            z_q = (straight_through(y, one_hot) if self.hard else y) @ self._embedding
        else:
            z_q = self.lookup(codes)
        metrics = {
            "kl": divergence,
            "diversity_loss": diversity,
            "temperature": jnp.asarray(temperature, jnp.float32),
            "code_frequency": one_hot.mean((0, 1, 2)),
        }
        loss = weight * divergence + self.diversity_weight * diversity
        return Quantized(z_q.astype(z.dtype), codes, loss, metrics)

    def _diversity(self, logits: jax.Array, train: bool) -> jax.Array:
        """The diversity loss of logits (B, h, w, K) against the running mean, which with `train` then follows."""
        mean = jax.nn.softmax(logits).mean((0, 1, 2))
        running = self._frequency.value
        if train and not self.is_initializing():
            self._frequency.value = self.decay * running + (1 - self.decay) * jax.lax.stop_gradient(mean)
        return mean @ jnp.log(self.num_codes * jnp.maximum(running, _RAREST))


def kl_to_uniform(logits: jax.Array) -> jax.Array:
    """KL(softmax(logits) || uniform) = ln K - H over the last axis, mean over the others, in nats: (..., K) -> ()."""
    log_p = jax.nn.log_softmax(logits)
    return jnp.log(logits.shape[-1]) + jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=-1))


class Identity(nn.Module):
    """No quantization: what the others are measured against. There are no codes, so no second stage.

    Attributes:
      code_dim: D, given by the model.
    """

    code_dim: int

    num_codes = initial_vectors = 0

    def check(self, key: str) -> None:
        """Nothing can be wrong."""

    def initialise(self, vectors: jax.Array, seed: int) -> None:
        """Nothing to do."""

    def refresh(self, z: jax.Array, key: jax.Array) -> None:
        """Nothing to do."""

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, noise: Any = None) -> Quantized:
        """z (B, h, w, D) -> Quantized whose z_q is z."""
        return Quantized(z, None, jnp.zeros((), jnp.float32), {})


QUANTIZERS = {"none": Identity, "vq": VQ, "ema": EMA, "gumbel": Gumbel}
