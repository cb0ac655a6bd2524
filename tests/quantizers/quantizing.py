"""Helpers that the tests of quantizers share."""

import jax
import jax.numpy as jnp
from conftest import small_autoencoder

from vqjax.config.check import build
from vqjax.quantizers import QUANTIZERS


def built(name, given=None, **fields):
    """Build an entry of QUANTIZERS from the small config with other fields, for vectors of 2 numbers or as `given`."""
    config = small_autoencoder()
    config.model.update({"quantizer": name, "signs": {"beta": 0.25}})
    config.model[name].update(fields)
    return build(QUANTIZERS, config, "model.quantizer", **(given or {"code_dim": 2}))


def call(quantizer, variables, z, train=False):
    """Quantize z (B, h, w, D) half through a run; returns the result and the collections as they are then."""
    keys = jax.random.split(jax.random.key(0), len(z))
    return quantizer.apply(variables, jnp.asarray(z), train, 0.5, keys, mutable=["codebook"])


def update(quantizer, variables, z, key, gather=lambda x: x):
    """Apply `after_update` on one device, or with another `gather`; returns the variables."""
    return quantizer.apply(variables, z, gather, key, method="after_update", mutable=True)[1]
