"""The second stage as a task: a distribution over the codes of a frozen stage 1, and images drawn from it."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from vqjax.codes import single_level
from vqjax.config.annotations import Decay, OneOf
from vqjax.config.check import build, section_fields
from vqjax.config.schema import SecondStage
from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.networks.layers import DTYPES
from vqjax.networks.priors import PRIORS, Prior
from vqjax.networks.priors.sampling import ANCESTRAL, Sampling, sample
from vqjax.runs import metrics
from vqjax.tasks.base import Pictures, Task, example_keys
from vqjax.tasks.stage1 import Stage1


@dataclasses.dataclass(frozen=True)
class PriorFields:
    """The fields of `config.model` that are not an entry's own."""

    prior: str
    dtype: Annotated[str, OneOf(DTYPES)]
    ema_decay: Decay
    class_conditional: bool


class PriorTask(Task):
    """p(codes | class), trained by maximum likelihood; the figures are in nats per code.

    Attributes:
      conditional: on the class.
      grid: (h, w) of the codes of an image.
    """

    module: Prior
    stage1: Stage1
    headline = ("nats_per_code", "perplexity", "bits_per_dim_of_codes")
    curves = ("nats_per_code", "gradient_norm")
    fields = SecondStage

    def __init__(self, config: ConfigDict, facts: Mapping[str, Any], stage1: Stage1):
        super().__init__(config, facts, stage1)
        fields = section_fields(PriorFields, config.model, "config.model", PRIORS)
        self.grid = stage1.grid
        self.conditional = fields.class_conditional and bool(self.class_names)
        given = {"layout": single_level(self.grid, self.stage1.num_codes), "dtype": DTYPES[fields.dtype]}
        classes = len(self.class_names) if self.conditional else 0
        self.module = build(PRIORS, config, "model.prior", **given, num_classes=classes)
        self.module.check(f"config.model.{fields.prior}")
        self._average = fields.ema_decay
        self._bits_per_dim = math.prod(self.grid) / (math.log(2) * math.prod(self.image_shape))  # of one nat per code
        self._given_codes = dict[str, float]()  # of the splits that were evaluated
        self._sample, self._decode = jax.jit(self.sample), jax.jit(self.stage1.decode)

    @property
    def frozen(self) -> Mapping[str, Any]:
        """Stage 1's variables, if codes are made on the fly."""
        return self.stage1.variables if self.prepares else {}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(h, w) of the codes."""
        return self.grid

    @property
    def notes(self) -> tuple[str, ...]:
        if self.class_names or not self.config.model.class_conditional:
            return ()
        return (f"config.data.name={self.config.data.name!r} has no labels: the prior is unconditional",)

    @property
    def table_columns(self) -> dict[str, Any]:
        return {**self.stage1.table_columns, "stages": "prior"}

    def monitor(self, figures: Mapping[str, float]) -> float:
        return figures["nats_per_code"]

    def read(self, config: ConfigDict, name: str) -> Split:
        """The `codes` and `label` of "train" or "test"; for augmentation, with `image` too."""
        split = self.stage1.read(config, name)
        if name in self.prepares:
            split = Split(**split.arrays, image=datasets.read_split(config, name).arrays["image"])
        return split

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh variables {"params"} and, if the weights are averaged, {"average"}; traceable."""
        codes = jnp.zeros((1, math.prod(self.grid)), jnp.int32)
        variables: Any = self.module.init(key, codes, jnp.zeros((1,), jnp.int32))
        return {**variables, "average": variables["params"]} if self._average else variables

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """A training batch whose codes are those of its images, augmented by the key."""
        batch = super().prepare(batch, key, frozen)
        return {
            "codes": self.stage1.encode(frozen, batch["image"]),
            "label": batch["label"],
            "example": batch["example"],
        }

    def apply_train(
        self, variables: Mapping, batch: Mapping, step: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """The logits of a batch in training, and the collections other than params, which `refresh` moves."""
        keys = example_keys(batch, key)
        order = self.module.training_order(keys, step / self.config.steps)
        logits = self._logits({"params": variables["params"]}, batch, keys, order)
        return logits, {name: value for name, value in variables.items() if name != "params"}

    def after_update(
        self, variables: dict[str, Any], vectors: Any, gather: Callable, step: jax.Array, key: jax.Array
    ) -> dict[str, Any]:
        """The variables after an update, with the average of the weights moved towards them.

        The average is short when it begins: its decay is at most (1 + step) / (10 + step).
        """
        if not self._average:
            return variables
        decay = jnp.minimum(self._average, (1 + step) / (10 + step))
        return {**variables, "average": optax.incremental_update(variables["params"], variables["average"], 1 - decay)}

    @staticmethod
    def weights(variables: Mapping) -> dict[str, Any]:
        """What evaluation and sampling apply the module with: the averaged weights where there are any."""
        return {"params": variables.get("average", variables["params"])}

    def apply_eval(self, variables: Mapping, batch: Mapping) -> jax.Array:
        """The logits of a batch in evaluation."""
        return self._logits(self.weights(variables), batch)

    def _logits(
        self, weights: Mapping, batch: Mapping, keys: jax.Array | None = None, order: jax.Array | None = None
    ) -> jax.Array:
        codes = _codes(batch)
        logits: Any = self.module.apply(weights, codes.reshape(len(codes), -1), batch["label"], keys, order)
        return logits.reshape(*codes.shape, -1)

    def loss(self, output: jax.Array, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The negative log-likelihood in nats per code, and the metrics of a batch, means over its examples."""
        nats = optax.softmax_cross_entropy_with_integer_labels(output, _codes(batch)).mean()
        return nats, {"nats_per_code": nats, "bits_per_dim_of_codes": self._bits_per_dim * nats}

    def eval_metrics(self, output: jax.Array, batch: Mapping) -> dict[str, jax.Array]:
        """The metrics that only an evaluation computes: nats_by_position (h, w)."""
        nats = optax.softmax_cross_entropy_with_integer_labels(output, _codes(batch))
        return {"nats_by_position": nats.mean(0)}

    def baselines(self, name: str, split: Split) -> dict[str, np.ndarray]:
        """What a split's codes cost when each is taken for itself, by their frequencies over all positions, in nats.

        The mean, which is the entropy of those frequencies, and at each position. And, if stage 1 has a likelihood of
        8-bit pixels, what those cost given the codes.
        """
        codes = split.arrays["codes"].reshape(len(split), -1).astype(np.int64)
        at = codes + self.stage1.num_codes * np.arange(codes.shape[1])  # tells the positions apart
        counts = np.bincount(at.reshape(-1), minlength=codes.shape[1] * self.stage1.num_codes)
        frequency = counts.reshape(codes.shape[1], -1) / len(split)
        over_all = frequency.mean(0)
        nats = -np.log(np.where(over_all, over_all, 1))  # of a code; one that is never used costs nothing
        by_position = (frequency @ nats).reshape(self.grid)
        figures = {
            "order0_nats_per_code": np.asarray(metrics.entropy(over_all)),
            "order0_nats_by_position": by_position,
        }
        if self.stage1.task.likelihood.bits_per_dim:
            if name not in self._given_codes:
                self._given_codes[name] = self.stage1.bits_per_dim_given_codes(self.config, name)
            figures["bits_per_dim_given_codes"] = np.asarray(self._given_codes[name])
        return figures

    def sample(
        self, variables: Mapping, batch: Mapping, seed: int | jax.Array, sampling: Sampling = ANCESTRAL
    ) -> jax.Array:
        """Codes (B, h, w) of the classes `label` (B,), drawn with the noise of the sample numbers `example` (B,)."""
        codes = sample(self.module, self.weights(variables), batch["label"], batch["example"], seed, sampling)
        return codes.reshape(len(codes), *self.grid)

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """Samples of the classes of a batch, and the batch's own codes decoded: what no prior over them can exceed."""
        captions = [self.class_names[label] for label in batch["label"]] if self.conditional else None

        def pictures(codes: jax.Array, title: str) -> Pictures:
            return Pictures(self._decode(self.stage1.variables, codes), captions, title=title)

        return {
            "generated": pictures(self._sample(variables, batch, 0), "samples of the prior"),
            "decoded": pictures(_codes(batch), "real codes decoded: the best that a prior can do"),
        }

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        return f"python -m vqjax sample --workdir {workdir}", f"python -m vqjax explore --workdir {workdir}"


def _codes(batch: Mapping) -> jax.Array:
    """(B, h, w) int32: on disk and on their way they are smaller."""
    return jnp.asarray(batch["codes"], jnp.int32)
