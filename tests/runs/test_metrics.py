import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from vqjax.runs import metrics


def test_perplexity_is_derived_after_averaging():
    """Two batches on disjoint halves of 8 codes: 4 each, 8 together."""
    first, second = np.repeat([0.25, 0.0], 4), np.repeat([0.0, 0.25], 4)
    mean = metrics.RunningMean()
    for frequency in (first, second):
        assert metrics.perplexity(frequency) == pytest.approx(4)
        mean.add({"code_frequency": frequency, "mse": 0.01 * frequency[0]})
    figures = metrics.summarize(mean.means())
    assert figures["perplexity"] == pytest.approx(8) and figures["codes_used"] == 8
    assert figures["psnr"] == pytest.approx(10 * np.log10(1 / 0.00125))
    assert "code_frequency" not in figures


def test_each_level_of_codes_is_a_distribution():
    """Of residual codes, depth 3 of 8 codes, and of levels by name: never over rows, where they would add up."""
    uniform, half, one = np.full(8, 1 / 8), np.repeat([1 / 4, 0], 4), np.eye(8)[5]
    figures = metrics.summarize({"code_frequency": np.stack([uniform, half, one])})
    perplexities = {"perplexity_1": 8, "perplexity_2": 4, "perplexity_3": 1}
    assert figures == pytest.approx({**perplexities, "codes_used_1": 8, "codes_used_2": 4, "codes_used_3": 1})
    means = {"code_frequency_top": half, "code_frequency_bottom": np.stack([one, uniform]), "loss": np.float64(2)}
    assert metrics.summarize(means) == pytest.approx(
        {
            "loss": 2,
            **{"perplexity_top": 4, "codes_used_top": 4},
            **{"perplexity_bottom_1": 1, "codes_used_bottom_1": 1, "perplexity_bottom_2": 8, "codes_used_bottom_2": 8},
        }
    )
    assert [*metrics.code_frequencies(means)] == ["_top", "_bottom_1", "_bottom_2"]


@pytest.mark.parametrize("shape, suffixes", [((4,), [""]), ((2, 4), ["_1", "_2"]), ((1, 4), ["_1"])])
def test_an_array_of_frequencies_is_told_by_its_levels(shape, suffixes):
    levels = metrics.frequency_levels(np.full(shape, 0.25))
    assert [*levels] == suffixes and metrics.frequency_levels(levels) is levels


def test_one_code_has_perplexity_one():
    assert metrics.perplexity(np.array([0.0, 1.0])) == 1


def test_mean_goes_on_from_its_state():
    whole, part = metrics.RunningMean(), metrics.RunningMean()
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for i, row in enumerate(rows):
        if i == 2:
            part = metrics.RunningMean(part.state)
        for mean in (whole, part):
            mean.add({"x": row}, count=2)
    np.testing.assert_array_equal(whole.means()["x"], part.means()["x"])
    np.testing.assert_allclose(whole.means()["x"], rows.sum(0) / 10, rtol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 20, 3)])
def test_ssim_against_scipys_filter(shape):
    rng = np.random.default_rng(0)
    x = rng.random((4, *shape))
    y = np.clip(x + 0.2 * rng.normal(size=x.shape), 0, 1)

    def reference(a, b):
        """scikit-image's defaults, written with SciPy: 7 x 7, sample covariance, border cut off."""
        mean = lambda v: uniform_filter(v, 7)[3:-3, 3:-3]  # noqa: E731
        n = 49 / 48
        ma, mb = mean(a), mean(b)
        va, vb, cab = n * (mean(a * a) - ma**2), n * (mean(b * b) - mb**2), n * (mean(a * b) - ma * mb)
        c1, c2 = 0.01**2, 0.03**2
        return np.mean((2 * ma * mb + c1) * (2 * cab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))

    expected = [np.mean([reference(a[..., c], b[..., c]) for c in range(shape[-1])]) for a, b in zip(x, y)]
    np.testing.assert_allclose(metrics.ssim(x.astype(np.float32), y.astype(np.float32)), expected, atol=1e-5)


def test_ssim_of_clips_is_that_of_their_frames():
    x, y = np.random.default_rng(0).uniform(size=(2, 3, 2, 12, 10, 3)).astype(np.float32)
    frames = metrics.ssim(*(a.reshape(6, 12, 10, 3) for a in (x, y)))
    np.testing.assert_allclose(metrics.ssim(x, y).reshape(6), frames, atol=1e-6)


def test_ssim_of_an_image_with_itself_is_one():
    x = np.random.default_rng(0).random((2, 5, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(metrics.ssim(x, x), 1, atol=1e-6)
