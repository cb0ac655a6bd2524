"""The codebooks of vectors, by gradient and by running means: values, gradients, k-means and restarts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quantizing import call, update

from vqjax.quantizers import EMA, VQ

FIELDS = dict(code_dim=2, num_codes=3, beta=0.25, kmeans=False, dead_code_threshold=0.0, decay=0.9)
CODEBOOK = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]], np.float32)
# Nearest codes by hand: 1 (distances 1.0, 0.2, 9.8 squared), 0, 2, 1.
Z = np.array([[[[1.0, 0.6], [0.2, -0.4]], [[3.0, 0.0], [1.0, 2.0]]]], np.float32)
CODES = np.array([[[1, 0], [2, 1]]])
ERRORS = Z - CODEBOOK[CODES]  # z - e
MEAN_SQUARE = (0.4**2 + 0.2**2 + 0.4**2 + 1.0 + 1.0) / 8


CODEBOOKS = [VQ, EMA]


def with_codebook(quantizer, codebook=CODEBOOK):
    """Variables whose codebook is given."""
    variables = quantizer.init(jax.random.key(0), jnp.zeros((1, 1, 1, codebook.shape[1])), False)
    everything = np.ones((len(codebook), 1), bool)
    return quantizer.apply(variables, everything, jnp.asarray(codebook), method="_replace", mutable=True)[1]


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
    quantizer = quantizer(**{**FIELDS, "dead_code_threshold": 0.5})
    variables = with_codebook(quantizer, np.array([[0, 0], [1, 1], [1000, 0]], np.float32))
    for _ in range(20):
        _, updated = call(quantizer, variables, Z, train=True)
        variables = {**variables, **updated}
    before = quantizer.apply(variables, method="codebook")
    after = update(quantizer, variables, jnp.asarray(Z), jax.random.key(0))
    codebook = quantizer.apply(after, method="codebook")
    np.testing.assert_array_equal(codebook[:2], before[:2])
    assert np.min(np.abs(Z.reshape(-1, 2) - codebook[2]).sum(-1)) < 1e-5  # one of the batch's vectors
    np.testing.assert_allclose(after["codebook"]["frequency"][2], 1 / 3)
    # It survives the next step, with its update and restarts.
    _, updated = call(quantizer, after, Z, train=True)
    again = update(quantizer, {**after, **updated}, Z, jax.random.key(1))
    assert again["codebook"]["frequency"][2] >= 0.9 / 3


def _train(quantizer, variables, batches):
    """The variables after a step on each of the batches (S, N, D), and each step's codebook (S, K, D)."""

    def step(variables, given):
        z, key = given
        _, updated = quantizer.apply(variables, z, True, mutable=["codebook"])
        variables = update(quantizer, {**variables, **updated}, z, key)
        return variables, quantizer.apply(variables, method="codebook")

    keys = jax.random.split(jax.random.key(0), len(batches))
    return jax.jit(lambda *given: jax.lax.scan(step, *given))(variables, (batches, keys))


def _moved(quantizer, side, used, shape):
    """Codes on the points of a cube, batches of its first `used` points: which codes have moved after each step."""
    points = np.indices((side, side, side)).reshape(3, -1).T.astype(np.float32)
    quantizer = quantizer(**{**FIELDS, "code_dim": 3, "num_codes": side**3, "decay": 0.99, "dead_code_threshold": 0.01})
    batches = points[np.random.default_rng(0).integers(0, used, shape)]
    _, codebooks = _train(quantizer, with_codebook(quantizer, points), batches)
    return np.abs(codebooks - points).max(-1) > 0.5


@pytest.mark.more
@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_codes_that_wait_long_for_their_turn_are_not_restarted(quantizer):
    """729 codes, used alike by 4 positions a step: some are silent for 458 steps, which is 0.01 of 1 / K."""
    assert not _moved(quantizer, 9, 729, (1_500, 4)).any()


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_codes_that_are_silent_for_longer_are(quantizer):
    """64 codes, one position a step: mean use is once in 64 steps, dead is who is silent for 20 times as many."""
    moved = _moved(quantizer, 4, 4, (1_500, 1))
    first = np.argmax(moved.any(1))
    assert 1_270 <= first <= 1_290 and not moved[:, :4].any()
    assert moved[first + 59].sum() == 60  # one position a step: one after the other


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_restarts_bring_nearly_all_codes_into_use(quantizer):
    """64 codes that start in one of 4 clusters."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    z = centres[rng.integers(0, 4, (1_000, 256))] + rng.normal(size=(1_000, 256, 2))
    quantizer = quantizer(**{**FIELDS, "num_codes": 64, "decay": 0.95, "dead_code_threshold": 0.01})
    variables = with_codebook(quantizer, 5 + rng.normal(size=(64, 2)).astype(np.float32) / 100)
    used = lambda v: jnp.sum(call(quantizer, v, z[-1])[0].metrics["code_frequency"] > 0)  # noqa: E731
    assert used(variables) < 32
    variables, _ = _train(quantizer, variables, z.astype(np.float32))
    assert used(variables) >= 0.9 * 64


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_restarted_codes_are_distinct_vectors_and_the_rest_follow(quantizer):
    """16 dead codes of 18, and batches of 8 vectors of which 6 differ."""
    quantizer = quantizer(**{**FIELDS, "num_codes": 18, "decay": 0.5, "dead_code_threshold": 0.1})
    codebook = np.concatenate([[[0, 0], [1, 1]], np.full((16, 2), 1_000) + np.arange(16)[:, None]]).astype(np.float32)
    variables = with_codebook(quantizer, codebook)
    frequency = jnp.where(jnp.arange(18) < 2, 0.5, 1e-6)
    variables["codebook"]["frequency"] = frequency
    if "mean" in variables["codebook"]:
        variables["codebook"]["mean"] = codebook * frequency[:, None]
    restart = jax.jit(lambda *given: update(quantizer, *given))
    rng, alive = np.random.default_rng(0), [2]
    for step in range(3):
        z = rng.normal(size=(8, 2)).astype(np.float32)
        z[6:] = z[:2]
        variables = restart(variables, z[None], jax.random.key(step))
        found = np.asarray(quantizer.apply(variables, method="codebook"))
        alive.append(int(np.sum(found[:, 0] < 900)))
        new = found[alive[-2] : alive[-1]]
        assert len(np.unique(new.round(3), axis=0)) == len(new)
        assert np.all(np.abs(new[:, None] - z).sum(-1).min(1) < 1e-5)
    assert alive == [2, 8, 14, 18]
    np.testing.assert_allclose(found[:2], codebook[:2], atol=1e-6)


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_initialise_puts_the_codebook_on_the_centres(quantizer):
    quantizer = quantizer(**{**FIELDS, "kmeans": True})
    vectors = np.array([[0, 0], [5, 5], [9, 0]] * 10, np.float32)
    _, variables = quantizer.apply(with_codebook(quantizer), vectors, 0, method="initialize", mutable=True)
    codebook = quantizer.apply(variables, method="codebook")
    np.testing.assert_allclose(sorted(map(tuple, np.round(codebook, 4))), [(0, 0), (5, 5), (9, 0)])
    assert quantizer.initial_vectors and not quantizer.copy(kmeans=False).initial_vectors


@pytest.mark.parametrize("quantizer", CODEBOOKS)
def test_one_code_and_one_dimension(quantizer):
    quantizer = quantizer(**{**FIELDS, "num_codes": 1, "code_dim": 1, "dead_code_threshold": 0.01})
    variables = with_codebook(quantizer, np.array([[2.0]], np.float32))
    quantized, _ = call(quantizer, variables, Z[..., :1], train=True)
    assert np.all(quantized.codes == 0) and np.all(quantized.metrics["code_frequency"] == 1)
