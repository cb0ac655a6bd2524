"""What the tests of quantizers share."""

import jax
import jax.numpy as jnp
from conftest import small_autoencoder

from vqjax.config.check import Section, build
from vqjax.quantizers import QUANTIZERS


def built(name, **fields):
    """An entry of QUANTIZERS for vectors of 2 numbers, with the fields of the small config but for those given."""
    config = small_autoencoder()
    config.model.quantizer = name
    config.model[name].update(fields)
    return build(QUANTIZERS, Section.of(config, "config.model"), "quantizer", code_dim=2)


def call(quantizer, variables, z, train=False):
    """Half through a run: what comes of z (B, h, w, D), and the collections as they are afterwards."""
    noise = jax.random.split(jax.random.key(0), len(z))
    return quantizer.apply(variables, jnp.asarray(z), train, 0.5, noise, mutable=["codebook"])
