"""Quantizers inside Flax NNX models, by `nnx.bridge`, as on docs/python_models.md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, more_but
from flax import nnx
from flax.nnx.bridge.variables import nnx_attrs_to_linen_vars
from quantizing import built


def variables_of(bridged):
    """The variables of the Linen module that is in one of NNX."""
    own = {name: value for name, value in vars(bridged).items() if not name.startswith(("to_nnx__", "_pytree__"))}
    return nnx_attrs_to_linen_vars(own)


@pytest.mark.parametrize("name", more_but("ema", CODED))
def test_a_bridged_quantizer_computes_what_its_module_does(name):
    """Before, in and after a step, and what it keeps is the same."""
    quantizer, rng = built(name), np.random.default_rng(0)
    z, keys = jnp.asarray(rng.normal(size=(64, 2)), jnp.float32), jax.random.split(jax.random.key(1), 64)
    bridged = nnx.bridge.ToNNX(quantizer, rngs=nnx.Rngs(0)).lazy_init(z[:1], False)
    variables = variables_of(bridged)

    bridged.initialize(z, 0, mutable=True)
    variables |= quantizer.apply(variables, z, 0, method="initialize", mutable=True)[1]
    result = bridged(z, True, 0.5, keys, mutable=["codebook"])
    expected, changed = quantizer.apply(variables, z, True, 0.5, keys, mutable=["codebook"])
    variables |= changed
    jax.tree.map(np.testing.assert_array_equal, (result.z_q, result.codes), (expected.z_q, expected.codes))
    after = z, lambda rows: rows, jax.random.key(2)
    bridged.after_update(*after, mutable=True)
    variables |= quantizer.apply(variables, *after, method="after_update", mutable=True)[1]
    jax.tree.map(np.testing.assert_array_equal, variables_of(bridged), variables)
