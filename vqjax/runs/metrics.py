"""Figures from means: perplexity, PSNR and other figures that are not linear in the batch, derived after averaging."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

_FREQUENCY = "code_frequency"


class RunningMean:
    """A running mean of dicts of arrays, in float64 on the host."""

    def __init__(self, state: Mapping | None = None):
        """Continue from a `state`, or begin with nothing."""
        self.count = float(state["count"]) if state else 0.0
        self.sums = {name: np.asarray(value, np.float64) for name, value in state["sums"].items()} if state else {}

    @property
    def state(self) -> dict:
        """All of it as plain numbers and arrays: {"count": n, "sums": {name: array}}."""
        return {"count": np.float64(self.count), "sums": self.sums}

    def add(self, sums: Mapping[str, np.ndarray], count: float = 1) -> None:
        """Add sums over `count` examples or steps; by default the means of one step."""
        self.count += float(count)
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + np.asarray(value, np.float64)

    def means(self) -> dict[str, np.ndarray]:
        """Return {name: mean}."""
        return {name: value / self.count for name, value in self.sums.items()}


def entropy(frequency: np.ndarray) -> float:
    """Return the entropy in nats of code frequencies (K,) that sum to 1."""
    used = frequency[frequency > 0]
    return float(-np.sum(used * np.log(used)))


def perplexity(frequency: np.ndarray) -> float:
    """Return exp of the entropy of code frequencies (K,), between 1 and K."""
    return float(np.exp(entropy(frequency)))


def psnr(mse: float) -> float:
    """Return the peak signal-to-noise ratio in dB for a mean squared error of pixels in [0, 1]."""
    return float(-10 * np.log10(max(mse, 1e-12)))


def recall(counts: np.ndarray) -> np.ndarray:
    """Return the share of each class that is recognized, (C,); NaN for a class without examples.

    `counts` (C, C) is the confusion matrix, a row per true class.
    """
    totals = counts.sum(1)
    return np.divide(np.diag(counts), totals, out=np.full(len(counts), np.nan), where=totals > 0)


def code_frequencies(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return {suffix: frequency (K,)} of the code frequencies in a dict of means.

    Each row of a (depth, K) array is a distribution of its own. The suffix tells levels and depths apart: "" for an
    array `code_frequency` (K,), "_1", "_2", ... for the rows of a (depth, K), "_top" or "_top_1" for
    `code_frequency_top`.
    """
    frequencies: dict[str, np.ndarray] = {}
    for name, value in means.items():
        if name.startswith(_FREQUENCY) and np.ndim(value) > 0:
            suffix = name.removeprefix(_FREQUENCY)
            rows = {suffix: value} if np.ndim(value) == 1 else {f"{suffix}_{i}": row for i, row in enumerate(value, 1)}
            frequencies |= rows
    return frequencies


def frequency_levels(frequency: np.ndarray | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return {suffix: frequency (K,)} for an array `code_frequency`, (K,) or (depth, K), or for such a dict itself."""
    return frequency if isinstance(frequency, Mapping) else code_frequencies({_FREQUENCY: frequency})


def summarize(means: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the figures that are logged for the means of a window or a split.

    Scalars pass through. `mse` also gives `psnr`. Each distribution of `code_frequencies` gives `perplexity` and
    `codes_used`, with its suffix. `nats_per_code` gives the perplexity of the next code. The bits of the codes and the
    bits of the pixels given the codes add up to `bits_per_dim_of_images`: an upper bound of -log2 p(image), which is a
    sum over all codes; of a prior with classes, of -log2 p(image | class).
    """
    figures = {name: float(value) for name, value in means.items() if np.ndim(value) == 0}
    if "mse" in means:
        figures["psnr"] = psnr(figures["mse"])
    for suffix, frequency in code_frequencies(means).items():
        figures[f"perplexity{suffix}"] = perplexity(frequency)
        figures[f"codes_used{suffix}"] = int(np.sum(frequency > 0))
    if "nats_per_code" in means:
        with np.errstate(over="ignore"):  # a model that is worse than useless
            figures["perplexity"] = float(np.exp(figures["nats_per_code"]))
    if {"bits_per_dim_of_codes", "bits_per_dim_given_codes"} <= figures.keys():
        figures["bits_per_dim_of_images"] = figures["bits_per_dim_of_codes"] + figures["bits_per_dim_given_codes"]
    return figures


def ssim(x: jax.Array, y: jax.Array, window: int = 7) -> jax.Array:
    """Return the structural similarity (Wang et al. 2004, eq. 13) of images in [0, 1]: (..., H, W, C) twice -> (...).

    Uniform window (smaller only if the image is), sample covariances, C1 = 0.01^2, C2 = 0.03^2; the mean over
    the windows inside the image and over channels, as by scikit-image's defaults.
    """
    size = min(window, *x.shape[-3:-1])
    dimensions = *(1,) * (x.ndim - 3), size, size, 1

    def average(a: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(a, 0.0, jax.lax.add, dimensions, (1,) * x.ndim, "VALID") / size**2

    sample = size**2 / max(1, size**2 - 1)
    mean_x, mean_y = average(x), average(y)
    var_x, var_y = sample * (average(x * x) - mean_x**2), sample * (average(y * y) - mean_y**2)
    covariance = sample * (average(x * y) - mean_x * mean_y)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return jnp.mean(luminance * (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2), axis=(-3, -2, -1))
