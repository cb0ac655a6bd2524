"""Codes drawn from a distribution that the encoder gives."""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.config.annotations import Codes, Decay, Range, Weight
from vqjax.config.schedules import ScheduleConfig
from vqjax.ops.matmul import Dense, dense
from vqjax.quantizers.base import Quantized, Quantizer
from vqjax.quantizers.estimators import straight_through
from vqjax.system.errors import InputError

_MIN_TEMPERATURE = 1e-3
_RAREST = 1e-8  # the logarithm of a running mean no longer falls below this


class Gumbel(Quantizer):
    """Codes drawn from a distribution that the encoder gives, relaxed (Jang et al. 2017; Maddison et al. 2017).

    In training y = softmax((logits + g) / tau) with standard Gumbel noise g (Jang et al., eq. 2) and z_q is the mean
    of the embeddings under y; in evaluation the most probable code, without noise. The temperature and the weight
    of the KL divergence from the uniform prior follow the run; in evaluation they are those of its end.
    loss = kl_weight sum_k p_k ln(K p_k) + diversity_weight sum_k p_k ln(K f_k), p = softmax(logits), means over
    positions, in nats. The first term, the divergence, keeps each position undecided. The second keeps all codes in
    use: with f the mean of p it would be the diversity loss of Baevski et al. 2020 (eq. 4); with f the running mean
    it has the same gradient, is linear in the batch, and does not depend on the number of devices.

    Attributes:
      code_dim: D.
      num_codes: K.
      hard: forward the one-hot of the largest y, backward y (the straight-through Gumbel-softmax).
      alignment: if not 0, each embedding starts in the direction of z that makes its code probable, and the logits are
        of this size where z is of size 1, so that z_q tells of z before anything is learned.
      temperature: tau, above 0. What is drawn if `hard` does not depend on it, only how many codes share the gradient.
      kl_weight: of the divergence in the objective.
      diversity_weight: of the diversity loss in the objective.
      decay: of the running mean of p, per step.
      from_logits: z holds the logits, as DALL-E's encoder gives them, and D is K; else they are a linear map of z.
      embedding_dim: V, numbers of a code's vector; 0: D.
    """

    num_codes: Codes
    hard: bool = True
    alignment: Annotated[float, Range(0, 1e3)] = 0.0
    temperature: ScheduleConfig = ScheduleConfig("exponential", 2.0, 0.5, 0.8)
    kl_weight: ScheduleConfig = ScheduleConfig("exponential", 0.03, 1e-4, 0.5)
    diversity_weight: Weight = 0.1
    decay: Decay = 0.99
    from_logits: bool = False
    embedding_dim: Annotated[int, Range(0, 2**16)] = 0

    schedule_metrics = ("temperature",)

    @property
    def vector_dim(self) -> int:
        """V, the numbers of a code's vector: the channels that the decoder sees."""
        return self.embedding_dim or self.code_dim

    def setup(self):
        if not self.from_logits:
            kernel_init = nn.initializers.variance_scaling(self.alignment**2 or 1.0, "fan_in", "truncated_normal")
            self._logits = Dense(self.num_codes, kernel_init=kernel_init, name="logits")
        self._embedding = self.param("codebook", self._initial_embedding)
        uniform = lambda: jnp.full((self.num_codes,), 1 / self.num_codes, jnp.float32)  # noqa: E731
        self._frequency = self.variable("codebook", "frequency", uniform)

    def _initial_embedding(self, key: jax.Array) -> jax.Array:
        """Return rows (K, V) of norm about 1 or, if aligned, of the norm of a z of size 1."""
        if not self.alignment:
            initializer = nn.initializers.variance_scaling(1, "fan_out", "normal")
            return initializer(key, (self.num_codes, self.vector_dim))
        directions = self._logits(jnp.eye(self.code_dim)).T  # there is no bias yet
        return jnp.sqrt(self.code_dim) * directions / jnp.linalg.norm(directions, axis=1, keepdims=True)

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, for a temperature too low, or dimensions that differ."""
        if self.from_logits and self.code_dim != self.num_codes:
            raise InputError(f"{key}.from_logits=True: expected code_dim {self.num_codes}, got {self.code_dim}")
        if self.alignment and (self.from_logits or self.vector_dim != self.code_dim):
            raise InputError(f"{key}.alignment={self.alignment}: expected from_logits=False and embedding_dim=0")
        for end in ("start", "end"):
            if (value := getattr(self.temperature, end)) < _MIN_TEMPERATURE:
                raise InputError(f"{key}.temperature.{end}={value}: expected at least {_MIN_TEMPERATURE}")

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Return the vectors of codes: (...) -> (..., V) float32."""
        return jnp.take(self._embedding, codes, axis=0)

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        """Draw codes for z (B, ..., D); in training `keys` holds a key (B,) for each row of the first axis."""
        logits = z if self.from_logits else self._logits(z)  # (B, ..., K)
        progress = progress if train else 1.0
        divergence, diversity = kl_to_uniform(logits), self._diversity(logits, train)
        temperature, weight = self.temperature(progress), self.kl_weight(progress)
        sampled = train and keys is not None
        if sampled:
            gumbels = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(keys)
            y = jax.nn.softmax((logits + gumbels) / temperature)
        codes = jnp.argmax(y if sampled else logits, axis=-1)
        one_hot = jax.nn.one_hot(codes, self.num_codes, dtype=jnp.float32)
        if sampled:
            z_q = dense(straight_through(y, one_hot) if self.hard else y, self._embedding)
        else:
            z_q = self.lookup(codes)
        metrics = {
            "kl": divergence,
            "diversity_loss": diversity,
            "temperature": jnp.asarray(temperature, jnp.float32),
            "code_frequency": one_hot.mean(tuple(range(codes.ndim))),
        }
        loss = weight * divergence + self.diversity_weight * diversity
        return Quantized(z_q, codes, loss, metrics)

    def _diversity(self, logits: jax.Array, train: bool) -> jax.Array:
        """Return the diversity loss of logits (..., K) against the running mean, which with `train` then follows."""
        mean = jax.nn.softmax(logits).mean(tuple(range(logits.ndim - 1)))
        running = self._frequency.value
        if train and not self.is_initializing():
            self._frequency.value = self.decay * running + (1 - self.decay) * jax.lax.stop_gradient(mean)
        return mean @ jnp.log(self.num_codes * jnp.maximum(running, _RAREST))


def kl_to_uniform(logits: jax.Array) -> jax.Array:
    """Return KL(softmax(logits) || uniform) = ln K - H in nats, over the last axis: (..., K) -> (), the mean."""
    log_p = jax.nn.log_softmax(logits)
    return jnp.log(logits.shape[-1]) + jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=-1))
