import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED

from configs import autoencoder
from vqjax.config import InputError, build
from vqjax.quantizers import (
    EMA,
    QUANTIZERS,
    VQ,
    Gumbel,
    Identity,
    kl_to_uniform,
    kmeans,
    squared_distances,
    straight_through,
)
from vqjax.schedules import Ramp

FIELDS = dict(code_dim=2, num_codes=3, beta=0.25, kmeans=False, restart=0.0, decay=0.9)
CODEBOOK = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]], np.float32)
# Nearest codes by hand: 1 (distances 1.0, 0.2, 9.8 squared), 0, 2, 1.
Z = np.array([[[[1.0, 0.6], [0.2, -0.4]], [[3.0, 0.0], [1.0, 2.0]]]], np.float32)
CODES = np.array([[[1, 0], [2, 1]]])
ERRORS = Z - CODEBOOK[CODES]  # z - e
MEAN_SQUARE = (0.4**2 + 0.2**2 + 0.4**2 + 1.0 + 1.0) / 8


CODEBOOKS = [VQ, EMA]


def built(name, **fields):
    """An entry of QUANTIZERS with the fields of the base config, less those given."""
    config = autoencoder.get_config()
    config.model.quantizer = name
    config.model[name].update(fields)
    return build(QUANTIZERS, config, "model.quantizer", code_dim=2)


def with_codebook(quantizer, codebook=CODEBOOK):
    """Variables whose codebook is given."""
    variables = quantizer.init(jax.random.key(0), jnp.zeros((1, 1, 1, codebook.shape[1])), False)
    everything = np.ones((len(codebook), 1), bool)
    return quantizer.apply(variables, everything, jnp.asarray(codebook), method="_replace", mutable=True)[1]


def call(quantizer, variables, z, train=False):
    noise = jax.random.split(jax.random.key(0), len(z))
    return quantizer.apply(variables, jnp.asarray(z), train, 0.5, noise, mutable=["codebook"])


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_forward_by_hand(quantizer):
    quantizer = quantizer(**FIELDS)
    quantized, _ = call(quantizer, with_codebook(quantizer), Z)
    np.testing.assert_array_equal(quantized.codes, CODES)
    assert quantized.codes.dtype == jnp.int32
    np.testing.assert_allclose(quantized.z_q, CODEBOOK[CODES], atol=1e-6)
    np.testing.assert_allclose(quantized.metrics["code_frequency"], [0.25, 0.5, 0.25])
    np.testing.assert_allclose(quantized.metrics["commitment_loss"], MEAN_SQUARE, rtol=1e-6)
    expected = {VQ: 1.25 * MEAN_SQUARE, EMA: 0.25 * MEAN_SQUARE}[type(quantizer)]
    np.testing.assert_allclose(quantized.loss, expected, rtol=1e-6)


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_gradient_of_z_by_hand(quantizer):
    """d/dz of sum(w z_q) + loss is w, straight through, plus 2 beta (z - e) / N: commitment, and nothing else."""
    quantizer = quantizer(**FIELDS)
    variables = with_codebook(quantizer)
    w = np.arange(8, dtype=np.float32).reshape(Z.shape)

    def objective(z):
        quantized, _ = call(quantizer, variables, z)
        return jnp.sum(w * quantized.z_q) + quantized.loss

    np.testing.assert_allclose(jax.grad(objective)(Z), w + 2 * 0.25 * ERRORS / Z.size, rtol=1e-5, atol=1e-6)


def test_gradient_of_the_vq_codebook_by_hand():
    """d loss / d e_k = sum over its positions of 2 (e_k - z) / N, without beta; the decoder's gradient passes by."""
    quantizer = VQ(**FIELDS)
    variables = with_codebook(quantizer)

    def objective(params):
        quantized, _ = call(quantizer, {**variables, "params": params}, Z)
        return 100 * jnp.sum(quantized.z_q) + quantized.loss

    gradient = jax.grad(objective)(variables["params"])["codebook"]
    expected = np.zeros((3, 2))
    np.add.at(expected, CODES.reshape(-1), -2 * ERRORS.reshape(-1, 2) / Z.size)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_the_ema_codebook_has_no_parameters():
    quantizer = EMA(**FIELDS)
    assert "params" not in with_codebook(quantizer)


def test_straight_through():
    z, e = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
    value, gradient = jax.value_and_grad(lambda z: jnp.sum(straight_through(z, e) ** 2))(z)
    assert value == 34
    np.testing.assert_allclose(gradient, 2 * e)


def test_ema_update_against_numpy():
    """Ten steps: the counts and sums of the paper's appendix, per position; quantize first, update after."""
    rng = np.random.default_rng(0)
    quantizer = EMA(**FIELDS)
    variables = with_codebook(quantizer)
    frequency, mean, codebook = np.full(3, 1 / 3), CODEBOOK / 3, CODEBOOK.astype(np.float64)
    for _ in range(10):
        z = rng.normal(1.0, 1.5, (4, 3, 5, 2)).astype(np.float32)
        flat = z.reshape(-1, 2)
        nearest = np.argmin(((flat[:, None] - codebook) ** 2).sum(-1), axis=1)
        quantized, variables = call(quantizer, variables, z, train=True)
        np.testing.assert_array_equal(quantized.codes.reshape(-1), nearest)
        one_hot = np.eye(3)[nearest]
        frequency = 0.9 * frequency + 0.1 * one_hot.mean(0)
        mean = 0.9 * mean + 0.1 * one_hot.T @ flat / len(flat)
        codebook = mean / frequency[:, None]
    np.testing.assert_allclose(quantizer.apply(variables, method="codebook"), codebook, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variables["codebook"]["frequency"], frequency, rtol=1e-5)


def test_an_unused_ema_code_stays_where_it_is():
    quantizer = EMA(**{**FIELDS, "decay": 0.5})
    variables = with_codebook(quantizer)
    step = jax.jit(lambda v: call(quantizer, v, jnp.zeros((1, 2, 2, 2)), train=True)[1])
    for _ in range(300):  # 0.5 ** 300 is below the smallest float32
        variables = step(variables)
    np.testing.assert_allclose(quantizer.apply(variables, method="codebook"), CODEBOOK, atol=1e-5)


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_bfloat16_vectors_meet_a_float32_codebook(quantizer):
    quantizer = quantizer(**FIELDS)
    variables = with_codebook(quantizer, CODEBOOK + 0.001)  # 4.001 is 4 in bfloat16
    quantized, after = call(quantizer, variables, jnp.asarray(Z, jnp.bfloat16), train=True)
    assert quantized.z_q.dtype == jnp.bfloat16 and quantized.loss.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves({**variables, **after})} == {jnp.dtype("float32")}
    np.testing.assert_allclose(quantizer.apply(variables, method="codebook"), CODEBOOK + 0.001, rtol=1e-6)


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_restart_replaces_dead_codes_and_only_those(quantizer):
    quantizer = quantizer(**{**FIELDS, "restart": 0.5})
    variables = with_codebook(quantizer, np.array([[0, 0], [1, 1], [1000, 0]], np.float32))
    for _ in range(20):
        _, updated = call(quantizer, variables, Z, train=True)
        variables = {**variables, **updated}
    before = quantizer.apply(variables, method="codebook")
    _, after = quantizer.apply(variables, jnp.asarray(Z), jax.random.key(0), method="refresh", mutable=True)
    codebook = quantizer.apply(after, method="codebook")
    np.testing.assert_array_equal(codebook[:2], before[:2])
    assert np.min(np.abs(Z.reshape(-1, 2) - codebook[2]).sum(-1)) < 1e-5  # one of the batch's vectors
    np.testing.assert_allclose(after["codebook"]["frequency"][2], 1 / 3)
    # It survives the next step, update and refresh included.
    _, updated = call(quantizer, after, Z, train=True)
    _, again = quantizer.apply({**after, **updated}, Z, jax.random.key(1), method="refresh", mutable=True)
    assert again["codebook"]["frequency"][2] >= 0.9 / 3


def test_distances_rank_as_the_direct_ones():
    rng = np.random.default_rng(0)
    z, codebook = rng.normal(size=(50, 7)), rng.normal(size=(11, 7))
    direct = ((z[:, None] - codebook) ** 2).sum(-1) - (z**2).sum(-1, keepdims=True)
    np.testing.assert_allclose(squared_distances(jnp.float32(z), jnp.float32(codebook)), direct, atol=1e-4)


def test_kmeans_finds_separate_clusters_and_repeats_itself():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    vectors = (centres.repeat(100, 0) + 0.1 * rng.normal(size=(400, 2))).astype(np.float32)
    found = kmeans(vectors, 4, seed=3)
    np.testing.assert_allclose(found[np.lexsort(found.round().T)], centres[np.lexsort(centres.T)], atol=0.05)
    np.testing.assert_array_equal(found, kmeans(vectors, 4, seed=3))


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_initialise_puts_the_codebook_on_the_centres(quantizer):
    quantizer = quantizer(**{**FIELDS, "kmeans": True})
    vectors = np.array([[0, 0], [5, 5], [9, 0]] * 10, np.float32)
    _, variables = quantizer.apply(with_codebook(quantizer), vectors, 0, method="initialise", mutable=True)
    codebook = quantizer.apply(variables, method="codebook")
    np.testing.assert_allclose(sorted(map(tuple, np.round(codebook, 4))), [(0, 0), (5, 5), (9, 0)])
    assert quantizer.initial_vectors and not quantizer.copy(kmeans=False).initial_vectors


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_more_codes_than_kmeans_has_vectors_are_refused(quantizer):
    fields = {**FIELDS, "num_codes": 20_001}
    quantizer(**fields).check("config.model.q")
    with pytest.raises(InputError, match=r"config.model.q.num_codes=20001: expected at most 20000 with .*kmeans=True"):
        quantizer(**{**fields, "kmeans": True}).check("config.model.q")


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_one_code_and_one_dimension(quantizer):
    quantizer = quantizer(**{**FIELDS, "num_codes": 1, "code_dim": 1, "restart": 0.01})
    variables = with_codebook(quantizer, np.array([[2.0]], np.float32))
    quantized, _ = call(quantizer, variables, Z[..., :1], train=True)
    assert np.all(quantized.codes == 0) and np.all(quantized.metrics["code_frequency"] == 1)


@pytest.mark.parametrize("name", CODED)
def test_what_every_quantizer_promises(name):
    """Shapes and dtypes; lookup gives what the decoder sees; evaluation draws nothing and changes nothing."""
    quantizer = built(name, num_codes=7)
    z = jax.random.normal(jax.random.key(0), (3, 4, 6, 2))
    variables = quantizer.init(jax.random.key(1), z, False)
    quantized, after = call(quantizer, variables, z)
    assert quantized.codes.shape == z.shape[:3] and quantized.codes.dtype == jnp.int32
    assert quantized.codes.min() >= 0 and quantized.codes.max() < quantizer.num_codes == 7
    np.testing.assert_allclose(quantizer.apply(variables, quantized.codes, method="lookup"), quantized.z_q, atol=1e-6)
    np.testing.assert_allclose(
        np.bincount(quantized.codes.reshape(-1), minlength=7) / 72, quantized.metrics["code_frequency"]
    )
    jax.tree.map(np.testing.assert_array_equal, after, {k: v for k, v in variables.items() if k == "codebook"})
    again = quantizer.apply(variables, z, False)
    jax.tree.map(np.testing.assert_array_equal, again, quantized)


@pytest.mark.parametrize("name", CODED)
def test_half_precision_vectors_meet_float32_losses(name):
    quantizer = built(name, num_codes=7)
    z = jax.random.normal(jax.random.key(0), (3, 4, 6, 2), jnp.bfloat16)
    variables = quantizer.init(jax.random.key(1), z, False)
    quantized, after = call(quantizer, variables, z, train=True)
    assert quantized.z_q.dtype == jnp.bfloat16
    floats = {leaf.dtype for leaf in jax.tree.leaves((variables, after, quantized.loss, quantized.metrics))}
    assert floats == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", CODED)
def test_one_code_has_frequency_one(name):
    quantizer = built(name, num_codes=1)
    variables = quantizer.init(jax.random.key(1), Z, False)
    quantized, _ = call(quantizer, variables, Z, train=True)
    assert np.all(quantized.codes == 0) and np.all(quantized.metrics["code_frequency"] == 1)
    assert np.isfinite(quantized.loss)


def test_none_is_the_identity():
    quantized = Identity(2).apply({}, jnp.asarray(Z), True, 0.5, None)
    np.testing.assert_array_equal(quantized.z_q, Z)
    assert quantized.codes is None and quantized.loss == 0 and Identity(2).num_codes == 0


def test_aligned_embeddings_tell_of_z_from_the_start():
    """Logits of the size asked for; the embedding of a code that is drawn points where z does."""
    z, keys = jax.random.normal(jax.random.key(0), (1000, 1, 1, 16)), jax.random.split(jax.random.key(2), 1000)
    cosines = {}
    for alignment in (0.0, 1.0, 4.0):
        quantizer = built("gumbel", num_codes=100, alignment=alignment).clone(code_dim=16)
        variables = quantizer.init(jax.random.key(1), z, False)
        assert float((z @ variables["params"]["logits"]["kernel"]).std()) == pytest.approx(alignment or 1, rel=0.1)
        z_q = quantizer.apply(variables, z, True, 0.5, keys, mutable=["codebook"])[0].z_q
        cosines[alignment] = float(
            np.mean((z * z_q).sum(-1) / np.linalg.norm(z, axis=-1) / np.linalg.norm(z_q, axis=-1))
        )
    assert abs(cosines[0.0]) < 0.05 < 0.1 < cosines[1.0] < 0.4 < cosines[4.0]


def gumbel(hard, temperature=1.0, kl_weight=1.0, diversity_weight=0.0, decay=0.9):
    ramp = lambda value: Ramp("constant", value, value, 1.0)  # noqa: E731
    return Gumbel(2, 5, hard, 0.0, ramp(temperature), ramp(kl_weight), diversity_weight, decay)


def gumbel_call(quantizer, variables, z, noise, progress=0.0):
    return quantizer.apply(variables, z, True, progress, noise, mutable=["codebook"])[0]


def gumbel_sample(logits, noise, temperature):
    """softmax((logits + g) / tau), in NumPy, with the noise of each example's key."""
    gumbels = np.stack([jax.random.gumbel(key, logits.shape[1:]) for key in noise])
    scaled = (np.asarray(logits, np.float64) + gumbels) / temperature
    y = np.exp(scaled - scaled.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


@pytest.mark.parametrize("hard", [True, False])
def test_gumbel_forward_and_gradient(hard):
    """Forward the relaxed or the one-hot sample times the embeddings; backward the relaxed one's gradient in both."""
    z = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    noise = jax.random.split(jax.random.key(2), 3)
    variables = gumbel(hard).init(jax.random.key(1), z, False)
    dense, embedding = variables["params"]["logits"], variables["params"]["codebook"]
    y = gumbel_sample(z @ dense["kernel"] + dense["bias"], noise, 0.7)
    one_hot = np.eye(5)[y.argmax(-1)]
    quantized = gumbel_call(gumbel(hard, 0.7), variables, z, noise)
    np.testing.assert_array_equal(quantized.codes, y.argmax(-1))
    np.testing.assert_allclose(quantized.z_q, (one_hot if hard else y) @ embedding, atol=1e-5)

    w = jax.random.normal(jax.random.key(3), z.shape)

    def gradient(flag):
        sample = lambda z: gumbel_call(gumbel(flag, 0.7), variables, z, noise).z_q  # noqa: E731
        return jax.grad(lambda z: jnp.sum(w * sample(z)))(z)

    np.testing.assert_allclose(gradient(True), gradient(False), atol=1e-5)
    # d z_q / d logits of a softmax at temperature tau: (diag(y) - y y^T) E / tau.
    jacobian = (np.einsum("...k,kj->...kj", y, np.eye(5)) - y[..., :, None] * y[..., None, :]) / 0.7
    expected = np.einsum("...d,kd,...kj,ij->...i", w, embedding, jacobian, dense["kernel"])
    np.testing.assert_allclose(gradient(hard), expected, atol=1e-4)


def test_gumbel_at_a_low_temperature_is_the_hard_sample():
    z = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    noise = jax.random.split(jax.random.key(2), 3)
    variables = gumbel(True).init(jax.random.key(1), z, False)
    soft, hard = (gumbel_call(gumbel(flag, 1e-4), variables, z, noise) for flag in (False, True))
    np.testing.assert_allclose(soft.z_q, hard.z_q, atol=1e-5)
    np.testing.assert_array_equal(soft.codes, hard.codes)


def test_gumbel_samples_follow_the_distribution():
    """How often each code is drawn is its probability, at any temperature."""
    z = jnp.tile(jnp.array([0.5, -1.0]), (20_000, 1, 1, 1))
    variables = gumbel(True).init(jax.random.key(1), z[:1], False)
    dense = variables["params"]["logits"]
    probability = jax.nn.softmax(z[0, 0, 0] @ dense["kernel"] + dense["bias"])
    quantized = gumbel_call(gumbel(True, 0.3), variables, z, jax.random.split(jax.random.key(0), len(z)))
    np.testing.assert_allclose(quantized.metrics["code_frequency"], probability, atol=0.015)


def test_kl_against_a_direct_sum():
    logits = np.random.default_rng(0).normal(size=(4, 3, 6))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(kl_to_uniform(jnp.float32(logits)), (p * np.log(p * 6)).sum(-1).mean(), rtol=1e-5)
    np.testing.assert_allclose(kl_to_uniform(jnp.zeros((2, 9))), 0, atol=1e-6)
    np.testing.assert_allclose(kl_to_uniform(jnp.array([1000.0, 0, 0, 0])), np.log(4), rtol=1e-6)


def test_diversity_against_a_direct_sum():
    """mean_n sum_k p_nk ln(K f_k), against the running mean as it was, which then follows; the gradient by hand."""
    z = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    quantizer, noise = gumbel(True, kl_weight=0.0, diversity_weight=2.0), jax.random.split(jax.random.key(2), 3)
    variables = quantizer.init(jax.random.key(1), z, False)
    running = np.array([0.5, 0.2, 0.1, 0.1, 0.1], np.float32)
    variables["codebook"]["frequency"] = jnp.asarray(running)
    dense = variables["params"]["logits"]
    p = np.asarray(jax.nn.softmax(z.reshape(-1, 2) @ dense["kernel"] + dense["bias"]), np.float64)
    quantized, after = quantizer.apply(variables, z, True, 0.0, noise, mutable=["codebook"])
    expected = (p * np.log(5 * running)).sum(-1).mean()
    np.testing.assert_allclose(quantized.metrics["diversity_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 2 * expected, rtol=1e-5)
    np.testing.assert_allclose(after["codebook"]["frequency"], 0.9 * running + 0.1 * p.mean(0), rtol=1e-5)
    # d/d bias_j of mean_n sum_k p_nk c_k is mean_n p_nj (c_j - sum_k p_nk c_k).
    c = np.log(5 * running)
    loss = lambda params: gumbel_call(quantizer, {**variables, "params": params}, z, noise).loss  # noqa: E731
    gradient = jax.grad(loss)(variables["params"])["logits"]["bias"]
    np.testing.assert_allclose(gradient, 2 * (p * (c - p @ c[:, None])).mean(0), atol=1e-6)
    # A uniform running mean asks for nothing, and an unused code does not give an infinite loss.
    variables["codebook"]["frequency"] = jnp.full(5, 0.2)
    np.testing.assert_allclose(gumbel_call(quantizer, variables, z, noise).loss, 0, atol=1e-6)
    variables["codebook"]["frequency"] = jnp.array([1.0, 0, 0, 0, 0])
    assert np.isfinite(gumbel_call(quantizer, variables, z, noise).loss)


def test_gumbel_schedules_follow_the_run_and_evaluation_is_at_its_end():
    quantizer = Gumbel(2, 5, True, 0.0, Ramp("linear", 1.0, 0.5, 0.5), Ramp("linear", 0.0, 2.0, 1.0), 0.0, 0.9)
    z, noise = Z, jax.random.split(jax.random.key(0), len(Z))
    variables = quantizer.init(jax.random.key(1), z, False)
    for progress, temperature, weight in ((0.0, 1.0, 0.0), (0.25, 0.75, 0.5), (0.75, 0.5, 1.5)):
        quantized = gumbel_call(quantizer, variables, z, noise, progress)
        np.testing.assert_allclose(quantized.metrics["temperature"], temperature, rtol=1e-6)
        np.testing.assert_allclose(quantized.loss, weight * quantized.metrics["kl"], atol=1e-6)
    quantized = quantizer.apply(variables, z, False, 0.0)
    np.testing.assert_allclose(quantized.loss, 2 * quantized.metrics["kl"], rtol=1e-6)


@pytest.mark.parametrize("end", ["start", "end"])
def test_a_temperature_of_zero_is_refused(end):
    values = {"start": 1.0, "end": 1.0, end: 0.0}
    temperature, weight = Ramp("linear", values["start"], values["end"], 1.0), Ramp("constant", 0, 0, 1.0)
    quantizer = Gumbel(2, 5, True, 0.0, temperature, weight, 0.0, 0.9)
    with pytest.raises(InputError, match=rf"config.model.gumbel.temperature.{end}=0.0: expected greater than 0"):
        quantizer.check("config.model.gumbel")
