"""Residual levels: one is the plain quantizer, several are better, each by hand, each restarted on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, small_autoencoder
from helpers import task_of
from quantizing import built, call, update

from vqjax.__main__ import parse
from vqjax.quantizers import EMA, QUANTIZERS, VQ, Residual
from vqjax.system.errors import InputError

LEVELS = [name for name in CODED if name != "residual"]  # the entries that a level may be
CODEBOOKS = ["vq", "ema"]


def residual(name, depth=2, shared=False, **fields):
    """Levels of an entry of the small config with other fields, for vectors of 2 numbers."""
    return Residual(code_dim=2, quantizer=built(name, **fields), depth=depth, shared=shared)


def vectors(*shape, seed=0):
    return np.asarray(jax.random.normal(jax.random.key(seed), (*shape, 2)), np.float32)


def level_variables(variables, level):
    """Those of one level: "levels_0", "levels_1", ...; "quantizer" where all share one."""
    return {name: collection[level] for name, collection in variables.items()}


def started(quantizer, z):
    """Fresh variables, and where there are codebooks, started from vectors."""
    variables = quantizer.init(jax.random.key(1), z, False)
    return quantizer.apply(variables, z.reshape(-1, 2), 0, method="initialize", mutable=True)[1]


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.more
@pytest.mark.parametrize("name, shared", [*((name, False) for name in LEVELS), *((name, True) for name in CODEBOOKS)])
def test_one_level_is_the_plain_quantizer_bit_for_bit(name, shared):
    """Start, output, gradients, running statistics and restarts."""
    restarts = {"dead_code_threshold": 0.9, "decay": 0.5} if name in CODEBOOKS else {}
    plain, one, z = built(name, **restarts), residual(name, 1, shared, **restarts), vectors(4, 6, 6)
    level = "quantizer" if shared else "levels_0"
    variables = plain.init(jax.random.key(1), z, False)
    nested = {collection: {level: values} for collection, values in variables.items()}

    def begun(quantizer, variables):
        return quantizer.apply(variables, vectors(300), 7, method="initialize", mutable=True)[1]

    variables, nested = begun(plain, variables), begun(one, nested)
    same(level_variables(nested, level), variables)

    def stepped(quantizer, variables):
        def objective(params, z):
            quantized, after = call(quantizer, {**variables, "params": params}, z, train=True)
            return jnp.sum(quantized.z_q**2) + quantized.loss, (quantized, after)

        differentiated = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
        (value, (quantized, after)), gradients = jax.jit(differentiated)(variables.get("params", {}), z)
        return (value, quantized, gradients[1]), update(quantizer, {**variables, **after}, z, jax.random.key(3))

    outputs, variables = stepped(plain, variables)
    outputs_of_one, nested = stepped(one, nested)
    same(outputs_of_one, outputs)
    same(level_variables(nested, level), variables)
    codes = outputs[1].codes
    same(one.apply(nested, codes, method="lookup"), plain.apply(variables, codes, method="lookup"))
    assert one.depth == plain.depth == 1 and codes.shape == z.shape[:-1]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", CODEBOOKS)
def test_the_error_falls_with_each_level(name, shared):
    """Of random vectors, after k-means level by level; the sum over the first d levels is what `lookup` gives."""
    quantizer, z = residual(name, depth=4, shared=shared), vectors(2_000)
    variables = started(quantizer, z)
    quantized = quantizer.apply(variables, z, False)
    assert quantized.codes.shape == (2_000, 4) and quantized.metrics["code_frequency"].shape == (4, 16)
    errors = []
    for d in range(1, 5):
        found = quantizer.apply(variables, quantized.codes[:, :d], method="lookup")
        errors.append(float(np.mean((z - found) ** 2)))
        np.testing.assert_allclose(quantized.metrics[f"commitment_loss_{d}"], errors[-1], rtol=1e-5)
    most = 0.9 if shared else 0.5
    assert all(after < most * before for before, after in zip(errors, errors[1:])), errors
    np.testing.assert_allclose(quantized.z_q, found, atol=1e-6)
    np.testing.assert_allclose(quantized.metrics["commitment_loss"], sum(errors), rtol=1e-5)


def by_hand(quantizer, variables, z, shared=False):
    """What each level is given, its vectors, and its codes, of z (N, 2) with codebooks (K, 2), in float64."""
    rest, parts = np.float64(z), []
    for number in range(quantizer.depth):
        name = "quantizer" if shared else f"levels_{number}"
        codebook = quantizer.quantizer.apply(level_variables(variables, name), method="codebook")
        codes = np.argmin(((rest[:, None] - np.float64(codebook)) ** 2).sum(-1), axis=1)
        parts.append((rest, np.float64(codebook)[codes], codes))
        rest = rest - parts[-1][1]
    return parts


@pytest.mark.parametrize("name", CODEBOOKS)
def test_gradients_by_hand(name):
    """Straight through the sum: once, not once per level. Each level's loss reaches z, and its own codebook alone."""
    quantizer, z, w = residual(name, depth=3, beta=0.25), vectors(50), vectors(50, seed=5)
    variables = started(quantizer, z)
    parts = by_hand(quantizer, variables, z)

    def objective(params, z):
        quantized, _ = quantizer.apply({**variables, "params": params}, z, True, mutable=["codebook"])
        return jnp.sum(w * quantized.z_q) + quantized.loss

    of_params, of_z = jax.grad(objective, argnums=(0, 1))(variables.get("params", {}), jnp.asarray(z))
    expected = w + sum(2 * 0.25 * (rest - e) / z.size for rest, e, _ in parts)
    np.testing.assert_allclose(of_z, expected, atol=1e-6)
    for number, (rest, e, codes) in enumerate(parts if name == "vq" else ()):
        expected = np.zeros((16, 2))
        np.add.at(expected, codes, 2 * (e - rest) / z.size)
        np.testing.assert_allclose(of_params[f"levels_{number}"]["codebook"], expected, atol=1e-6)


def test_rotation_and_diveq_are_of_the_sum():
    for gradient in ("rotation", "diveq"):
        quantizer, z = residual("vq", gradient=gradient), vectors(50)
        variables = started(quantizer, z)
        q = sum(e for _, e, _ in by_hand(quantizer, variables, z)).astype(np.float32)
        expected = jax.grad(lambda z, q=q, one=quantizer.quantizer: jnp.sum(one.estimate(z, jnp.asarray(q)) ** 3))(z)
        found = jax.grad(lambda z, o=quantizer, v=variables: jnp.sum(o.apply(v, z, False).z_q ** 3))(jnp.asarray(z))
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_running_means_against_numpy(shared):
    """Each level's own, or with a shared codebook one over all levels, which quantize with the same."""
    quantizer = residual("ema", shared=shared, decay=0.9)
    variables = started(quantizer, vectors(300))
    for step in range(3):
        z = vectors(40, seed=step)
        parts, before = by_hand(quantizer, variables, z, shared), variables["codebook"]
        _, variables = quantizer.apply(variables, z, True, mutable=["codebook"])
        levels = [("quantizer", parts)] if shared else [(f"levels_{i}", [part]) for i, part in enumerate(parts)]
        for name, own in levels:
            rest, codes = np.concatenate([part[0] for part in own]), np.concatenate([part[2] for part in own])
            one_hot = np.eye(16)[codes]
            frequency = 0.9 * before[name]["frequency"] + 0.1 * one_hot.mean(0)
            mean = 0.9 * before[name]["mean"] + 0.1 * one_hot.T @ rest / len(rest)
            np.testing.assert_allclose(variables["codebook"][name]["frequency"], frequency, rtol=1e-5)
            np.testing.assert_allclose(variables["codebook"][name]["mean"], mean, atol=1e-6)


@pytest.mark.more
@pytest.mark.parametrize("dead_level", [0, 1, 2])
@pytest.mark.parametrize("name", CODEBOOKS)
def test_a_restart_at_one_level_leaves_the_others(name, dead_level):
    """The dead code goes to what the levels before leave of a vector of the batch."""
    quantizer, z = residual(name, depth=3, dead_code_threshold=0.5, decay=0.0), vectors(200)
    variables = started(quantizer, z)
    frequency = np.full(16, 1 / 16, np.float32)
    frequency[5] = 0
    for level in range(3):
        variables["codebook"][f"levels_{level}"]["frequency"] = (
            frequency if level == dead_level else 0 * frequency + 1 / 16
        )
    rest, codebooks = by_hand(quantizer, variables, z)[dead_level][0], []
    after = update(quantizer, variables, z, jax.random.key(0))
    for level in range(3):
        one, path = quantizer.quantizer, f"levels_{level}"
        codebooks.append([one.apply(level_variables(each, path), method="codebook") for each in (variables, after)])
        moved = ~np.all(np.isclose(*codebooks[-1], equal_nan=True), axis=1)
        assert set(np.flatnonzero(moved)) == ({5} if level == dead_level else set())
    assert np.abs(rest - codebooks[dead_level][1][5]).max(1).min() < 1e-5


def test_a_shared_codebook_restarts_on_what_any_level_is_given():
    quantizer, z = residual("vq", shared=True, dead_code_threshold=0.5, decay=0.0, num_codes=64), vectors(40)
    variables = quantizer.init(jax.random.key(1), z, False)
    variables["codebook"]["quantizer"]["frequency"] = np.zeros(64, np.float32)
    given = np.concatenate([rest for rest, _, _ in by_hand(quantizer, variables, z, shared=True)])
    after = update(quantizer, variables, z, jax.random.key(0))["params"]["quantizer"]["codebook"]
    distances = np.abs(np.asarray(after)[:, None] - given).max(-1)
    assert distances.min(1).max() < 1e-5  # 64 of the 80 vectors, all different
    assert len(set(distances.argmin(1))) == 64 and np.any(distances.argmin(1) >= 40)


def test_levels_draw_for_themselves():
    """Gumbel's noise, of the same vectors at two levels."""
    quantizer = residual("gumbel", num_codes=64)
    z = np.zeros((40, 2), np.float32)
    variables = quantizer.init(jax.random.key(0), z, False)
    levels = variables["params"]
    levels["levels_1"] = levels["levels_0"] = jax.tree.map(jnp.zeros_like, levels["levels_0"])
    codes = np.asarray(call(quantizer, variables, z, train=True)[0].codes)
    assert np.mean(codes[:, 0] == codes[:, 1]) < 0.3


@pytest.mark.parametrize("depth, shape", [(2, (5, 3)), (2, (5, 0)), (2, ()), (3, (4,))])
def test_codes_of_more_levels_than_there_are_are_refused(depth, shape):
    quantizer = residual("ema", depth=depth)
    variables = quantizer.init(jax.random.key(0), vectors(4), False)
    with pytest.raises(InputError, match=rf"codes \[.*\]: expected a last axis of 1 to {depth} levels"):
        quantizer.apply(variables, np.zeros(shape, np.int32), method="lookup")


def test_levels_have_their_own_variables_or_share_them():
    own, shared = (residual("vq", 3, shared).init(jax.random.key(0), vectors(4), False) for shared in (False, True))
    for collection in ("params", "codebook"):
        assert list(own[collection]) == ["levels_0", "levels_1", "levels_2"] and list(shared[collection]) == [
            "quantizer"
        ]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"residual.quantizer": "none"},
            "config.model.residual.quantizer: expected an entry with one code per position, ",
        ),
        (
            {"residual.quantizer": "gaussian"},
            "config.model.residual.quantizer: expected an entry with one code per posi",
        ),
        ({"residual.quantizer": "residual"}, "config.model.residual.quantizer='residual': expected another entry"),
        ({"residual.quantizer": "emma"}, "config.model.residual.quantizer='emma' is unknown."),
        ({"residual.depth": 0}, "config.model.residual.depth=0: expected at least 1 and at most 64"),
        ({"ema.num_codes": 0}, "config.model.ema.num_codes=0: expected at least 1"),
        ({"ema.cosine": True}, "config.model.residual.quantizer: expected cosine=False and projection=0 in EMA"),
        ({"ema.projection": 4}, "config.model.residual.quantizer: expected cosine=False and projection=0 in EMA"),
        (
            {"residual.quantizer": "fsq", "residual.shared": True},
            "config.model.residual.shared=True: expected an entry",
        ),
        (
            {"residual.quantizer": "gumbel", "residual.shared": True},
            "config.model.residual.shared=True: expected an ent",
        ),
        (
            {"residual.quantizer": "vq", "vq.gradient": "diveq", "vq.dead_code_threshold": 0.0},
            "config.model.vq.dead_code",
        ),
    ],
)
def test_what_cannot_be_a_level_is_refused_in_a_line(change, message):
    config = small_autoencoder()
    config.model.quantizer = "residual"
    task_of(config)
    config.model.update_from_flattened_dict(change)
    with pytest.raises(InputError) as error:
        task_of(config)
    assert str(error.value).startswith(message) and str(error.value).count("\n") == ("unknown" in message)


def test_the_constructor_refuses_it_too():
    inner = EMA(code_dim=2, num_codes=3)
    for quantizer in (Residual(2, inner), QUANTIZERS["none"](2), EMA(3, 3)):
        with pytest.raises(InputError, match="Residual.quantizer: expected"):
            Residual(2, quantizer).init(jax.random.key(0), vectors(4), False)
    with pytest.raises(InputError, match="Residual.quantizer='ema': expected Quantizer, got str"):
        Residual(2, "ema")
    assert Residual(2, VQ(2, 3), depth=4).num_codes == 3


def test_the_fields_of_the_levels_are_set_beside():
    """The section of the entry that `residual` names counts as chosen, the others do not."""

    def given(*words):
        return parse(["train", "--config", "digits", "--config.model.quantizer=residual", *words])[1]

    config = given("--config.model.ema.num_codes=64", "--config.model.residual.depth=3").config
    assert task_of(config).module.quantizer == Residual(16, EMA(16, 64), depth=3)
    with pytest.raises(
        InputError, match="model.vq is not chosen, the field would do nothing; expected model.ema.num_co"
    ):
        given("--config.model.vq.num_codes=64")
    config = given("--config.model.vq.num_codes=64", "--config.model.residual.quantizer=vq").config
    assert task_of(config).module.quantizer.quantizer == VQ(16, 64)
    with pytest.raises(InputError, match="no such field; expected model.ema.num_codes$"):
        given("--config.num_codes=3")
