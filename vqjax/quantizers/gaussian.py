"""The variational autoencoder: a normal distribution in place of codes."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.config.annotations import Width
from vqjax.config.schedules import ScheduleConfig
from vqjax.ops.matmul import Dense
from vqjax.quantizers.base import Quantized, Quantizer

_LOG_VARIANCE = (-30.0, 20.0)  # the bounds of ln sigma^2: far from where it matters, and e^20 is still finite


class Gaussian(Quantizer):
    """The variational autoencoder (Kingma & Welling 2014), which codes are measured against. There is no second stage.

    The encoder's vector gives mean mu and log-variance ln sigma^2 of each latent. In training they are drawn,
    mu + sigma eps with standard normal eps (sec. 2.4), in evaluation they are mu.
    loss = kl_weight sum_j (mu_j^2 + sigma_j^2 - ln sigma_j^2 - 1) / 2, the divergence from the standard normal
    prior (appendix B), mean over positions, in nats. In evaluation the weight is that of the run's end.

    Attributes:
      code_dim: D.
      latent_dim: latents per position.
      kl_weight: of the divergence in the objective.
    """

    latent_dim: Width = 16
    kl_weight: ScheduleConfig = ScheduleConfig("linear", 0.0, 0.01, 0.2)

    num_codes = 0

    def setup(self):
        self._moments = Dense(2 * self.latent_dim, name="moments")
        self._vectors = Dense(self.code_dim, name="vectors")

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        """Draw latents for z (B, ..., D); in training `keys` holds a key (B,) for each row of the first axis."""
        mean, log_variance = jnp.split(self._moments(z), 2, axis=-1)  # (B, ..., latent_dim)
        log_variance = jnp.clip(log_variance, *_LOG_VARIANCE)
        latents = mean
        if train and keys is not None:
            normal = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
            latents = mean + jnp.exp(log_variance / 2) * normal
        divergence = kl_to_standard(mean, log_variance)
        loss = self.kl_weight(progress if train else 1.0) * divergence
        return Quantized(self._vectors(latents), None, loss, {"kl": divergence})


def kl_to_standard(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Return KL(N(mean, variance) || N(0, 1)) in nats, summed over the last axis: (..., J) twice -> (), the mean."""
    # expm1: near the prior, where unused latents are, e^x - 1 would be all rounding.
    terms = mean**2 + jnp.expm1(log_variance) - log_variance
    return jnp.mean(jnp.sum(terms, axis=-1)) / 2
