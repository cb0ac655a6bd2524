"""The quantizers in somebody else's model: two arguments, vectors of any leading shape."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, more_but
from quantizing import update

from configs import autoencoder
from vqjax.config.check import Section, build
from vqjax.quantizers import EMA, QUANTIZERS

REQUIRED = {  # beside code_dim; of the others, num_codes
    "fsq": {"levels": (3, 4)},
    "none": {},
    "gaussian": {},
    "residual": {"quantizer": EMA(code_dim=5, num_codes=12)},
}


def alone(name):
    return QUANTIZERS[name](code_dim=5, **REQUIRED.get(name, {"num_codes": 12}))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_what_is_not_given_is_as_in_the_base_config(name):
    config = autoencoder.get_config()
    config.model.quantizer = name
    expected = build(QUANTIZERS, Section.of(config, "config.model"), "quantizer", code_dim=5)
    given = {field: getattr(expected, field) for field in ("code_dim", *REQUIRED.get(name, {"num_codes": 0}))}
    found = QUANTIZERS[name](**given)
    for field in dataclasses.fields(expected):
        assert getattr(found, field.name) == getattr(expected, field.name), field.name


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", more_but("fsq", QUANTIZERS))
@pytest.mark.thinned(3)
def test_any_leading_shape_gives_what_the_grid_gives(name, train):
    """(5,), (24, 5), (2, 12, 5) and (2, 3, 2, 2, 5) against (2, 4, 3, 5): the same vectors in the same order."""
    quantizer, z = alone(name), jax.random.normal(jax.random.key(0), (2, 4, 3, 5))
    variables = quantizer.init(jax.random.key(1), z, False)

    def of(z):
        """Without noise, so that training draws nothing that depends on the shape."""
        quantized, after = quantizer.apply(variables, z, train, mutable=["codebook"])
        return quantized, after, update(quantizer, variables, z, jax.random.key(2))

    (expected, *collections) = of(z)
    for shape in ((24, 5), (2, 12, 5), (2, 3, 2, 2, 5)):
        found, *others = of(z.reshape(shape))
        assert found.z_q.shape == shape
        np.testing.assert_allclose(found.z_q.reshape(z.shape), expected.z_q, atol=1e-5)
        if name in CODED:
            depth = expected.codes.shape[3:]
            assert found.codes.shape == (*shape[:-1], *depth)
            np.testing.assert_array_equal(found.codes.reshape(2, 4, 3, *depth), expected.codes)
        same = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6)  # noqa: E731
        jax.tree.map(same, (found.loss, found.metrics, others), (expected.loss, expected.metrics, collections))
    one = of(z[0, 0, 0])[0]
    np.testing.assert_allclose(one.z_q, expected.z_q[0, 0, 0], atol=1e-5)


@pytest.mark.more
@pytest.mark.parametrize("name", ["gumbel", "gaussian"])
@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 4, 5)])
def test_noise_has_a_key_for_each_row_of_the_first_axis(name, shape):
    quantizer, z = alone(name), jax.random.normal(jax.random.key(0), (6, *shape))
    variables = quantizer.init(jax.random.key(1), z, False)
    keys = jax.random.split(jax.random.key(2), 6)
    draw = lambda z, keys: quantizer.apply(variables, z, True, keys=keys, mutable=["codebook"])[0].z_q  # noqa: E731
    whole = draw(z, keys)
    np.testing.assert_allclose(draw(z[4:], keys[4:]), whole[4:], atol=1e-5)
    assert np.abs(draw(z, keys[::-1]) - whole).max() > 1e-3


class Theirs(nn.Module):
    """A model that has a quantizer in the middle of it."""

    quantizer: nn.Module

    @nn.compact
    def __call__(self, x, keys=None):
        quantized = self.quantizer(nn.Dense(self.quantizer.code_dim)(x), train=True, keys=keys)
        return nn.Dense(x.shape[-1])(quantized.z_q), quantized


@pytest.mark.more
@pytest.mark.parametrize("name", more_but("ema", QUANTIZERS))
def test_a_gradient_passes_through_in_somebody_elses_model(name):
    model, x = Theirs(alone(name)), jax.random.normal(jax.random.key(0), (16, 3))
    variables, noise = model.init(jax.random.key(1), x), jax.random.split(jax.random.key(2), 16)

    def loss(params):
        (y, quantized), _ = model.apply({**variables, "params": params}, x, noise, mutable=["codebook"])
        return jnp.mean((y - x) ** 2) + quantized.loss

    gradient = jax.grad(loss)(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(gradient["Dense_0"]["kernel"]).max() > 1e-4
