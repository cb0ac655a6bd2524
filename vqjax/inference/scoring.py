"""Likelihood: the program that scores a batch of codes, and the bits of pixels given their codes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqjax.codes import CodeLayout
from vqjax.data.splits import Split
from vqjax.networks.priors.sampling import guide
from vqjax.tasks.pixels import PixelBits, needs_distribution, read_distribution
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1


@dataclasses.dataclass(frozen=True)
class ScoreBatch:
    """Function that scores a batch: two that are equal are compiled once.

    Attributes:
      priors: whose codes are scored, each given those of the ones before it.
      guidance: s of `guide`, the distribution that is asked about; 1 for none.
    """

    priors: tuple[PriorTask, ...]
    guidance: float

    def __call__(self, fixed: Mapping[str, Any], rows: Mapping[str, jax.Array]) -> jax.Array:
        """Return the nats of the codes that the priors model, (B, n).

        Args:
          fixed: variables of the "priors".
          rows: codes, `label` and maybe `order`, (B, ...) each.
        """
        nats = []
        for prior, variables in zip(self.priors, fixed["priors"]):
            own = prior.codes(rows)[:, prior.module.modeled]
            logits = self._logits(prior, prior.weights(variables), rows)
            nats.append(optax.softmax_cross_entropy_with_integer_labels(logits, own))
        return jnp.concatenate(nats, axis=1)

    def _logits(self, prior: PriorTask, weights: Mapping[str, Any], rows: Mapping[str, jax.Array]) -> jax.Array:
        """Return the logits (B, n, K) of a prior."""
        module, codes, label = prior.module, prior.codes(rows), rows["label"]
        order = rows.get("order") if module.any_order and len(self.priors) == 1 else None  # several have raster order
        with jax.default_matmul_precision("highest"):  # as in sampling
            logits: Any = module.apply(weights, codes, label, None, order)
            if self.guidance == 1:
                return jnp.asarray(logits)
            without: Any = module.apply(weights, codes, jnp.full_like(label, module.num_classes), None, order)
        return guide(logits, without, self.guidance)


def missing_bits(stage1: Stage1, layout: CodeLayout) -> str:
    """Return why the bits of images by a prior of the codes in a layout are not known; "" if they are."""
    if layout != stage1.layout:
        return "this prior is one of some of the codes alone"
    if needs_distribution(stage1.task) and not read_distribution(stage1.path, stage1.step):
        return f"evaluate {stage1.path}, which fits their distribution"
    return ""


def bits_of_pixels(stage1: Stage1, images: np.ndarray) -> np.ndarray:
    """Return -log2 of the probability of images (N, H, W, C) uint8 given their codes, per pixel and channel, (N,)."""
    distribution = read_distribution(stage1.path, stage1.step)
    return PixelBits(stage1.task, stage1.variables).of_images(Split(image=images), distribution)
