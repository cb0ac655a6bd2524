"""Means in, figures out: what is not linear in the batch is derived after averaging."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


class RunningMean:
    """A running mean of dicts of arrays, kept in float64 on the host.

    `state` is all of it, plain numbers and arrays: {"count": n, "sums": {name: array}}.
    """

    def __init__(self, state: Mapping | None = None):
        self.count = float(state["count"]) if state else 0.0
        self.sums = {name: np.asarray(value, np.float64) for name, value in state["sums"].items()} if state else {}

    @property
    def state(self) -> dict:
        return {"count": np.float64(self.count), "sums": self.sums}

    def add(self, sums: Mapping[str, np.ndarray], count: float = 1) -> None:
        """Adds sums over `count` things: those of one step's means by default."""
        self.count += float(count)
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + np.asarray(value, np.float64)

    def means(self) -> dict[str, np.ndarray]:
        """{name: mean}."""
        return {name: value / self.count for name, value in self.sums.items()}


def entropy(frequency: np.ndarray) -> float:
    """Of code frequencies (K,) that sum to 1, in nats."""
    used = frequency[frequency > 0]
    return float(-np.sum(used * np.log(used)))


def perplexity(frequency: np.ndarray) -> float:
    """exp of the entropy of code frequencies (K,): between 1 and K."""
    return float(np.exp(entropy(frequency)))


def code_usage(frequency: np.ndarray) -> dict[str, float]:
    """Return `perplexity` and `codes_used` of code frequencies (K,).

    Of those of several levels, (depth, K), there are `perplexity_1`, `perplexity_2`, … and as many `codes_used_…`.
    """
    levels = {f"_{number}": row for number, row in enumerate(frequency, 1)} if frequency.ndim > 1 else {"": frequency}
    figures: dict[str, float] = {}
    for level, row in levels.items():
        figures[f"perplexity{level}"] = perplexity(row)
        figures[f"codes_used{level}"] = int(np.sum(row > 0))
    return figures


def psnr(mse: float) -> float:
    """dB, from the mean squared error of pixels in [0, 1]."""
    return float(-10 * np.log10(max(mse, 1e-12)))


def recall(counts: np.ndarray) -> np.ndarray:
    """The share of each class that is recognised, (C,), NaN for a class without examples.

    `counts` (C, C) is the confusion matrix, true against predicted classes.
    """
    totals = counts.sum(1)
    return np.divide(np.diag(counts), totals, out=np.full(len(counts), np.nan), where=totals > 0)


def summarize(means: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The means of a window or a split -> the figures that are logged.

    Scalars pass through; `mse` also gives `psnr`, `code_frequency` what `code_usage` says, and
    `nats_per_code` its own perplexity, of what comes next. What the codes cost and what the pixels cost given them is
    together `bits_per_dim_of_images`: at least as much as -log2 p(image), which is a sum over all codes.
    """
    figures = {name: float(value) for name, value in means.items() if np.ndim(value) == 0}
    if "mse" in means:
        figures["psnr"] = psnr(figures["mse"])
    if "code_frequency" in means:
        figures |= code_usage(means["code_frequency"])
    if "nats_per_code" in means:
        with np.errstate(over="ignore"):  # a model that is worse than useless
            figures["perplexity"] = float(np.exp(figures["nats_per_code"]))
    if {"bits_per_dim_of_codes", "bits_per_dim_given_codes"} <= figures.keys():
        figures["bits_per_dim_of_images"] = figures["bits_per_dim_of_codes"] + figures["bits_per_dim_given_codes"]
    return figures


def ssim(x: jax.Array, y: jax.Array, window: int = 7) -> jax.Array:
    """Structural similarity (Wang et al. 2004, eq. 13) of images in [0, 1]: (..., H, W, C) twice -> (...).

    Uniform window (smaller only if the image is), sample covariances, C1 = 0.01^2, C2 = 0.03^2; the mean over
    the windows inside the image and over channels, as scikit-image's default has it.
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
