"""Gumbel's codes where the encoder gives the logits, as DALL-E's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.quantizers import Gumbel
from vqjax.system.errors import InputError

FIELDS = {"code_dim": 12, "num_codes": 12, "from_logits": True, "embedding_dim": 5}


def test_the_code_is_the_largest_logit_and_its_vector_an_embedding():
    z = jax.random.normal(jax.random.key(0), (2, 3, 4, 12))
    quantized, variables = Gumbel(**FIELDS).init_with_output(jax.random.key(1), z, False)
    assert jax.tree.map(np.shape, variables["params"]) == {"codebook": (12, 5)}
    np.testing.assert_array_equal(quantized.codes, np.argmax(z, axis=-1))
    np.testing.assert_array_equal(quantized.z_q, variables["params"]["codebook"][quantized.codes])


@pytest.mark.more
@pytest.mark.parametrize("hard", [False, True])
def test_the_gradient_to_the_logits_is_that_through_a_linear_map_that_changes_nothing(hard):
    z, keys = jax.random.normal(jax.random.key(0), (2, 4, 12)), jax.random.split(jax.random.key(2), 2)
    direct = Gumbel(**FIELDS, hard=hard)
    variables = direct.init(jax.random.key(1), z, False)
    linear = Gumbel(**{**FIELDS, "from_logits": False}, hard=hard)
    identity = {"kernel": jnp.eye(12), "bias": jnp.zeros(12)}
    mapped = {**variables, "params": {**variables["params"], "logits": identity}}

    def total(quantizer, variables, z):
        quantized, _ = quantizer.apply(variables, z, True, 0.5, keys, mutable=["codebook"])
        return jnp.sum(quantized.z_q**2) + quantized.loss

    gradients = [jax.grad(total, argnums=2)(*which, z) for which in ((direct, variables), (linear, mapped))]
    assert np.any(gradients[0])
    np.testing.assert_allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"code_dim": 8}, "config.model.gumbel.from_logits=True: expected code_dim 12, got 8"),
        ({"alignment": 1.0}, "config.model.gumbel.alignment=1.0: expected from_logits=False and embedding_dim=0"),
        ({"from_logits": False, "alignment": 1.0}, "expected from_logits=False and embedding_dim=0"),
    ],
)
def test_dimensions_that_differ_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Gumbel(**{**FIELDS, **fields}).check("config.model.gumbel")
