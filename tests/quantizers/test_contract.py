"""What every quantizer promises; and a new one, written here on the contract alone, through every stage."""

import inspect
import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, small_autoencoder
from helpers import lines_of, task_of
from quantizing import built, call, update

from vqjax.codes import Level
from vqjax.config.annotations import Weight
from vqjax.quantizers import EMA, QUANTIZERS, Identity, Quantized, Quantizer
from vqjax.quantizers.estimators import straight_through
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.evaluation import evaluate

CLASSES = [*QUANTIZERS.values()]


class Signs(Quantizer):
    """Lookup-free quantization: the sign of each number is a bit (Yu et al. 2023, sec. 3.1)."""

    beta: Weight

    @property
    def num_codes(self) -> int:
        return 2**self.code_dim

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        codes = (z > 0).astype(jnp.int32) @ (1 << jnp.arange(self.code_dim))
        z_q = self.lookup(codes)
        frequency = jnp.bincount(codes.reshape(-1), length=self.num_codes) / codes.size
        return Quantized(z_q, codes, self.beta * jnp.mean((z - z_q) ** 2), {"code_frequency": frequency})

    def estimate(self, z: jax.Array, z_q: jax.Array) -> jax.Array:
        return straight_through(z, z_q)

    def lookup(self, codes: jax.Array) -> jax.Array:
        return 2.0 * (codes[..., None] >> jnp.arange(self.code_dim) & 1) - 1


SIGNS = {"beta": 0.25}
# Entries of the table as the config has them, and with their options.
OPTIONS = {
    "signs": ("signs", {}),
    "vq, rotation": ("vq", {"gradient": "rotation"}),
    "ema, rotation": ("ema", {"gradient": "rotation"}),
    "vq, diveq": ("vq", {"gradient": "diveq"}),
    "vq, cosine": ("vq", {"cosine": True}),
    "ema, cosine, projection": ("ema", {"cosine": True, "projection": 3, "gradient": "rotation"}),
    "simvq, projection": ("simvq", {"projection": 3, "gradient": "diveq"}),
    **{f"residual, {name}": ("residual", {"quantizer": name, "depth": 3}) for name in ("vq", "simvq", "gumbel", "fsq")},
    "residual, signs": ("residual", {"quantizer": "signs"}),
    "residual, shared": ("residual", {"shared": True}),
    "residual, 1": ("residual", {"depth": 1}),
}
ENTRIES = {**{name: (name, {}) for name in QUANTIZERS}, **OPTIONS}
NAMES, WITH_CODES = [*ENTRIES], [name for name, (entry, _) in ENTRIES.items() if entry in (*CODED, "signs")]


@pytest.fixture(autouse=True)
def signs(monkeypatch):
    """Adds what a new quantizer takes beside its class: a line in the table and a dict in the config."""
    monkeypatch.setitem(QUANTIZERS, "signs", Signs)


@pytest.fixture
def signs_config():
    config = small_autoencoder()
    config.model.update({"quantizer": "signs", "signs": SIGNS, "code_dim": 4})
    return config


def made(name, dtype=jnp.float32):
    """A quantizer of ENTRIES, its variables, and vectors (3, 4, 6, 2) for it."""
    entry, fields = ENTRIES[name]
    quantizer = Signs(2, **SIGNS) if entry == "signs" else built(entry, **fields)
    z = jax.random.normal(jax.random.key(0), (3, 4, 6, 2), dtype)
    return quantizer, quantizer.init(jax.random.key(1), z, False), z


@pytest.mark.parametrize("name", NAMES)
def test_every_quantizer_keeps_shape_and_dtype(name):
    for dtype in (jnp.float32, jnp.bfloat16):
        quantizer, variables, z = made(name, dtype)
        for train in (False, True):
            quantized, after = call(quantizer, variables, z, train)
            assert quantized.z_q.shape == (*z.shape[:-1], quantizer.vector_dim) and quantized.z_q.dtype == dtype
            assert quantized.loss.shape == () and np.isfinite(quantized.loss)
            floats = {leaf.dtype for leaf in jax.tree.leaves((variables, after, quantized.loss, quantized.metrics))}
            assert floats == {jnp.dtype("float32")}
            assert (
                (quantized.codes is None) == (quantizer.num_codes == 0) == ("code_frequency" not in quantized.metrics)
            )


@pytest.mark.parametrize("name", WITH_CODES)
def test_codes_are_what_the_decoder_sees(name):
    quantizer, variables, z = made(name)
    quantized, _ = call(quantizer, variables, z)
    codes, level = quantized.codes, Level("codes", (4, 6), quantizer.num_codes, quantizer.depth)
    assert codes.shape == (3, *level.shape) and codes.dtype == jnp.int32
    assert codes.min() >= 0 and codes.max() < level.num_codes
    found = quantizer.apply(variables, codes, method="lookup")
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, quantized.z_q, atol=1e-6)
    flat = quantizer.apply(variables, codes.reshape(-1, *level.shape[2:])[:5], method="lookup")  # of any shape
    np.testing.assert_allclose(flat, found.reshape(-1, quantizer.vector_dim)[:5], atol=1e-6)
    by_level = codes.reshape(-1, level.depth).T
    tables = quantizer.apply(variables, method="code_vectors").reshape(level.depth, level.num_codes, -1)
    summed = sum(table[row] for table, row in zip(tables, by_level))
    np.testing.assert_allclose(summed, found.reshape(-1, quantizer.vector_dim), atol=1e-6)
    frequency = np.squeeze([np.bincount(row, minlength=level.num_codes) / row.size for row in by_level])
    assert quantized.metrics["code_frequency"].shape == frequency.shape
    np.testing.assert_allclose(quantized.metrics["code_frequency"], frequency, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluation_draws_nothing_and_changes_nothing(name):
    """Not even with keys; the schedules are at their end."""
    quantizer, variables, z = made(name)
    quantized, after = call(quantizer, variables, z)
    jax.tree.map(np.testing.assert_array_equal, after, {k: v for k, v in variables.items() if k == "codebook"})
    jax.tree.map(np.testing.assert_array_equal, quantizer.apply(variables, z, False), quantized)


@pytest.mark.more
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.thinned(2)
def test_metrics_are_means_over_examples(name, train):
    """So are the loss and the collections: what is exact on any number of devices, and leaves padding out."""
    quantizer, variables, z = made(name)
    noise = jax.random.split(jax.random.key(0), len(z))

    def of(z, noise):
        quantized, after = quantizer.apply(variables, z, train, 0.5, noise, mutable=["codebook"])
        return (quantized.z_q, quantized.codes), (quantized.loss, quantized.metrics, after)

    whole = of(z, noise)
    one_by_one = jax.vmap(of)(z[:, None], noise[:, None])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[:, 0], atol=1e-6), whole[0], one_by_one[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b.mean(0), 1e-6, 1e-6), whole[1], one_by_one[1])


@pytest.mark.more
@pytest.mark.parametrize("name", NAMES)
def test_constants_stay_and_need_not_be_mutable(name):
    """What no step changes is not averaged over devices or microbatches, which would cost and round."""
    quantizer, variables, z = made(name)
    after = update(quantizer, variables, z, jax.random.key(0))
    assert set(after) == set(variables)
    jax.tree.map(np.testing.assert_array_equal, after.get("constants"), variables.get("constants"))
    assert set(variables) <= {"params", "codebook", "constants"}  # `call` has only the codebook mutable
    call(quantizer, variables, z, train=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "z", [np.ones((3, 2), np.int32), np.ones((3, 2), bool), np.ones((3, 4), np.float32), np.ones(())]
)
def test_what_are_no_vectors_is_refused_in_a_line(name, z):
    quantizer, variables, _ = made(name)
    with pytest.raises(InputError) as error:
        quantizer.apply(variables, z, False)
    expected = rf"{type(quantizer).__name__}: expected floats of shape \(\.\.\., 2\), got \w+\[[\d, ]*\]"
    assert re.fullmatch(expected, str(error.value))


def out_of_range(entry):
    """Fields of a quantizer's class with a value each that its annotation refuses."""
    values = {"num_codes": 0, "levels": (1,), "beta": -1.0, "decay": 1.0, "gradient": "rotated", "cosine": 1}
    values |= {"latent_dim": 0, "depth": 0, "shared": "no", "kmeans": None, "quantizer": "ema", "code_dim": 0}
    return [(name, values[name]) for name in inspect.signature(entry).parameters if name in values]


@pytest.mark.parametrize("entry, name, value", [(entry, *pair) for entry in CLASSES for pair in out_of_range(entry)])
def test_a_constructor_checks_itself(entry, name, value):
    """By the annotations that check a config."""
    required = {"code_dim": 2, "num_codes": 3, "levels": (3, 4), "quantizer": EMA(2, 3)}
    fields = {field: given for field, given in required.items() if field in inspect.signature(entry).parameters}
    entry(**fields)
    with pytest.raises(InputError) as error:
        entry(**{**fields, name: value})
    assert str(error.value).startswith(f"{entry.__name__}.{name}") and "expected" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.more
@pytest.mark.parametrize("name", [name for name in CODED if "num_codes" in small_autoencoder().model[name]])
def test_one_code_has_frequency_one(name):
    quantizer, z = built(name, num_codes=1), jnp.ones((1, 1, 3, 2))
    quantized, _ = call(quantizer, quantizer.init(jax.random.key(1), z, False), z, train=True)
    assert np.all(quantized.codes == 0) and np.all(quantized.metrics["code_frequency"] == 1)
    assert np.isfinite(quantized.loss)


def test_none_is_the_identity():
    quantizer, _, z = made("none")
    quantized = quantizer.apply({}, z, True, 0.5, None)
    np.testing.assert_array_equal(quantized.z_q, z)
    assert quantized.codes is None and quantized.loss == 0 and Identity(2).num_codes == 0


def test_straight_through():
    z, e = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
    value, gradient = jax.value_and_grad(lambda z: jnp.sum(straight_through(z, e) ** 2))(z)
    assert value == 34
    np.testing.assert_allclose(gradient, 2 * e)


@pytest.mark.slow
def test_a_new_quantizer_is_trained_resumed_and_has_a_second_stage(signs_config, prior_config, tmp_path):
    assert loop.train(signs_config, tmp_path / "first") == 0
    signs_config.steps = 40
    assert loop.train(signs_config, tmp_path / "first") == 0
    losses = [line["mse"] for line in lines_of(tmp_path / "first" / "metrics.jsonl") if line["split"] == "train"]
    assert losses[-1] < losses[0]
    _, figures = evaluate(Workdir(tmp_path / "first"))
    assert figures["codes_used"] > 1 and figures["perplexity"] <= 16
    stage1 = Stage1(tmp_path / "first")
    assert stage1.num_codes == 16 and stage1.table_columns["codes"] == "grid"
    prior_config.stage1 = str(tmp_path / "first")
    assert loop.train(prior_config, tmp_path / "second") == 0
    figures = json.loads((tmp_path / "second" / "eval.json").read_text())
    assert 0 < figures["nats_per_code"] < 2 * np.log(16)


def test_a_new_quantizer_is_built_into_a_classifier(classifier_config, tmp_path):
    classifier_config.model.update({"quantizer": "signs", "signs": SIGNS, "backbone": "small", "quantize": "pooled"})
    assert task_of(classifier_config).module.quantizer.num_codes == 2**4
