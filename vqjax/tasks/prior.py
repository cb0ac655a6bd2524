"""The second stage as a task: a distribution over the codes of a frozen stage 1, and images drawn from it."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqjax.codes import CodeLayout
from vqjax.config.annotations import Decay, OneOf
from vqjax.config.check import build, check_name
from vqjax.data import datasets
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.networks.layers import DTYPES
from vqjax.networks.priors import PRIORS, Prior
from vqjax.networks.priors.orders import evaluation_orders
from vqjax.networks.priors.sampling import ANCESTRAL, Sampling, sample
from vqjax.runs import metrics
from vqjax.system.errors import InputError
from vqjax.tasks.base import Pictures, Task
from vqjax.tasks.stage1 import Stage1


@dataclasses.dataclass(frozen=True)
class PriorFields:
    """Fields of `config.model` that are not an entry's own."""

    prior: str
    dtype: Annotated[str, OneOf(DTYPES)]
    ema_decay: Decay
    class_conditional: bool
    level: str


class PriorTask(Task):
    """p(codes | class), trained by maximum likelihood; its metrics are in nats per code.

    Attributes:
      conditional: on the class.
      layout: of the codes that it sees.
      modeled: layout of the codes that it is a distribution of; the levels before them are given.
    """

    module: Prior
    stage1: Stage1
    layout: CodeLayout
    modeled: CodeLayout
    runs = "stage1", "top_prior"
    headline = ("nats_per_code", "perplexity", "bits_per_dim_of_codes")
    curves = ("nats_per_code", "gradient_norm")
    monitored = "nats_per_code"

    def build(self) -> None:
        """Set the prior and the layouts of its codes, see `Task.build`."""
        settings = self.settings
        fields: PriorFields = settings.model.own(PriorFields, PRIORS)
        self.layout = _layout(self.stage1.layout, fields.level)
        self.conditional = fields.class_conditional and bool(self.class_names)
        classes = len(self.class_names) if self.conditional else 0
        given = {"layout": self.layout, "num_classes": classes, "dtype": DTYPES[fields.dtype]}
        self.module = build(PRIORS, settings.model, "prior", **given)
        self.modeled = self._modeled(fields)
        if fields.class_conditional and not self.class_names:
            self.notes = [f"config.data.name={settings.data.name!r} has no labels: the prior is unconditional"]
        self._ema_decay = fields.ema_decay
        self._bits_per_dim = self.modeled.length / (math.log(2) * math.prod(self.image_shape))  # of one nat per code
        self._bits_given_codes = dict[str, float | None]()  # of the splits that were evaluated
        self._sample, self._decode = jax.jit(self.sample), jax.jit(self.stage1.decode)

    def _modeled(self, fields: PriorFields) -> CodeLayout:
        """Return the layout of the codes that the prior is a distribution of."""
        if not self.module.modeled.start:
            if self.settings.top_prior:
                raise InputError(f"config.top_prior={self.settings.top_prior}: expected none, no level is given")
            return self.layout
        if not fields.level:
            names = ", ".join(level.name for level in self.layout.levels)
            raise InputError(
                f"config.model.level='': expected one of {names}, a {fields.prior} models a level given those before it"
            )
        return self.layout.part(slice(-1, None))

    @property
    def frozen(self) -> Mapping[str, Any]:
        """Variables of stage 1, if codes are made on the fly."""
        return self.stage1.variables if self.prepares else {}

    def read(self, dataset: Dataset, name: str) -> Split:
        """Read the codes and `label` of "train" or "test"; for augmentation, with `image` too.

        Raises InputError if the prior is conditioned on classes and a split has no labels.
        """
        if self.conditional:
            dataset.require_labels()
        split = self.stage1.read(dataset, name)
        if name in self.prepares:
            split = Split(**split.arrays, image=datasets.read_split(dataset, name).arrays["image"])
        return split

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Return fresh variables {"params"} and, if the weights are averaged, {"average"}; traceable."""
        codes = jnp.zeros((1, self.layout.length), jnp.int32)
        variables: Any = self.module.init(key, codes, jnp.zeros((1,), jnp.int32))
        return {**variables, "average": variables["params"]} if self._ema_decay else variables

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """Put the codes of a training batch's images, augmented by the key, in place of the images."""
        batch = super().prepare(batch, key, frozen)
        codes = self.layout.split(self.stage1.encode(frozen, batch["image"]))
        return {**codes, "label": batch["label"], "example": batch["example"]}

    def codes(self, batch: Mapping) -> jax.Array:
        """Return a batch's codes as sequences (B, L) int32: on disk and on their way they are smaller."""
        arrays = {name: jnp.asarray(batch[name], jnp.int32) for name in self.layout.names}
        sequences: jax.Array = self.layout.flatten(self.layout.join(arrays))
        return sequences

    def apply(
        self, variables: Mapping, batch: Mapping, train: bool, progress: Any = 1.0, keys: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Return the logits (B, L, K) of a batch, in evaluation by the averaged weights.

        The collections other than params are those of before: `after_update` moves them.
        """
        if not train:
            logits: Any = self.module.apply(self.weights(variables), self.codes(batch), batch["label"])
            return logits, {}
        assert keys is not None
        order = self.module.training_order(keys, progress)
        logits = self.module.apply({"params": variables["params"]}, self.codes(batch), batch["label"], keys, order)
        return logits, {}

    def after_update(self, variables: dict[str, Any], vectors: Any, gather: Callable, step: Any, key: jax.Array) -> Any:
        """Return the variables with the average of the weights moved towards them.

        The average is short when it begins: its decay is at most (1 + step) / (10 + step).
        """
        if not self._ema_decay:
            return variables
        decay = jnp.minimum(self._ema_decay, (1 + step) / (10 + step))
        return {**variables, "average": optax.incremental_update(variables["params"], variables["average"], 1 - decay)}

    @staticmethod
    def weights(variables: Mapping) -> dict[str, Any]:
        """Return the variables of evaluation and sampling: the averaged weights where there are any."""
        return {"params": variables.get("average", variables["params"])}

    def loss(self, output: jax.Array, batch: Mapping) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the negative log-likelihood in nats per code, and the metrics of a batch, means over its examples."""
        nats = self._nats(output, batch).mean()
        return nats, {"nats_per_code": nats, "bits_per_dim_of_codes": self._bits_per_dim * nats}

    def eval_metrics(self, variables: Mapping, output: jax.Array, batch: Mapping) -> dict[str, jax.Array]:
        """Return the nats by position, a grid (h, w) for each level and depth.

        If the prior knows any order, also those in random orders: by the number of codes that are known, (L,), and
        their mean.
        """
        nats = self._nats(output, batch).mean(0)
        metrics = {f"nats_by_position{name}": grid for name, grid in self.modeled.maps(nats).items()}
        if self.module.any_order:
            by_known = self.nats_in_random_order(variables, batch).mean(0)
            metrics |= {"nats_by_known": by_known, "nats_per_code_any_order": by_known.mean()}
        return metrics

    def _nats(self, logits: jax.Array, batch: Mapping) -> jax.Array:
        """Return the nats of each modeled code, (B, n), of logits (B, n, K)."""
        nats: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits, self._own(self.codes(batch)))
        return nats

    def _own(self, sequences: jax.Array) -> jax.Array:
        """Return the modeled codes of sequences (B, L)."""
        return sequences[:, self.module.modeled]

    def nats_in_random_order(
        self, variables: Mapping, batch: Mapping, groups: Sequence[int] | None = None
    ) -> jax.Array:
        """Return the nats of a batch's codes along random orders, (B, L), by the weights of evaluation.

        There are eight orders, the same in every run; image i has that of number i mod 8. A group of codes is predicted
        together, given those before it; without groups each code is one.
        """
        codes, orders = self.codes(batch), evaluation_orders(self.layout.length)
        order = orders[batch["example"] % len(orders)]
        logits: Any = self.module.apply(self.weights(variables), codes, batch["label"], None, order, groups)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, codes)
        return jnp.take_along_axis(nats, order, axis=1)

    def split_metrics(self, dataset: Dataset, name: str, split: Split) -> dict[str, np.ndarray]:
        """Return the order-0 entropy of a split's codes in nats per code, and its part at each position.

        The entropy is that of the frequencies over all positions of a level and depth. The bits of the pixels given the
        codes are there too, if they are known and the prior is one of all codes.
        """
        figures = order0_metrics(self.modeled, split)
        if self.modeled != self.stage1.layout:
            return figures
        if name not in self._bits_given_codes:
            self._bits_given_codes[name] = self.stage1.bits_per_dim_given_codes(dataset, name)
        if (bits := self._bits_given_codes[name]) is not None:
            figures["bits_per_dim_given_codes"] = np.asarray(bits)
        return figures

    def sample(
        self,
        variables: Mapping,
        batch: Mapping,
        seed: int | jax.Array,
        sampling: Sampling = ANCESTRAL,
        groups: Sequence[int] | None = None,
        num_known: int = 0,
    ) -> jax.Array:
        """Draw sequences (B, L).

        Args:
          variables: of the prior.
          batch: `label`, the classes (B,), and `example`, the numbers of the samples (B,), whose noise is their own;
            maybe `known`, codes (B, L) that are kept, -1 where one is drawn; those of levels that are given are known.
          seed: of the noise.
          sampling: the distribution that is drawn from.
          groups: numbers of codes that are drawn together; None: one by one.
          num_known: number of codes that are known in every row, at most.
        """
        known, weights = batch.get("known"), self.weights(variables)
        return sample(self.module, weights, batch["label"], batch["example"], seed, sampling, known, groups, num_known)

    def images(self, variables: Mapping, batch: Mapping) -> dict[str, Pictures]:
        """Return samples of a batch's classes, and its own codes decoded: the best that any prior over them can do."""
        captions = [self.class_names[label] for label in batch["label"]] if self.conditional else None

        def pictures(sequences: jax.Array, title: str) -> Pictures:
            codes = self.layout.unflatten(sequences)
            return Pictures(self._decode(self.stage1.variables, codes), captions, title=title)

        given, title = batch, "samples of the prior"
        if start := self.module.modeled.start:
            known = jnp.where(jnp.arange(self.layout.length) < start, self.codes(batch), -1)
            given, title = {**batch, "known": known}, f"{title}, given the real codes of the levels before"
        return {
            "generated": pictures(self._sample(variables, given, 0), title),
            "decoded": pictures(self.codes(batch), "real codes decoded: the best that a prior can do"),
        }

    def next_commands(self, workdir: str) -> tuple[str, ...]:
        """Return the commands that draw samples and show codes; none if the levels before are given by no prior."""
        if self.module.modeled.start and not self.settings.top_prior:
            return super().next_commands(workdir)
        return f"python -m vqjax sample --workdir {workdir}", f"python -m vqjax explore --workdir {workdir}"


def _layout(layout: CodeLayout, level: str) -> CodeLayout:
    """Return the layout up to a level; "" for all."""
    names = {each.name: number for number, each in enumerate(layout.levels)}
    if level:
        check_name(names, level, "config.model.level")
    return layout.part(slice(names[level] + 1)) if level else layout


def order0_metrics(layout: CodeLayout, split: Split) -> dict[str, np.ndarray]:
    """Order-0 entropy of a split's codes, `order0_nats_per_code` and `order0_nats_by_position`, in nats."""
    total, maps = 0.0, {}
    codes_of, num_codes_of = layout.maps(layout.flatten(layout.join(split.arrays))), layout.maps(layout.num_codes)
    for name, codes in codes_of.items():
        num_codes = int(num_codes_of[name].flat[0])
        grid, codes = codes.shape[1:], codes.reshape(len(codes), -1).astype(np.int64)
        at = codes + num_codes * np.arange(codes.shape[1])  # tells the positions apart
        counts = np.bincount(at.reshape(-1), minlength=codes.shape[1] * num_codes)
        frequency = counts.reshape(codes.shape[1], -1) / len(split)
        overall = frequency.mean(0)
        nats = -np.log(np.where(overall, overall, 1))  # of a code; one that is never used costs nothing
        maps[f"order0_nats_by_position{name}"] = (frequency @ nats).reshape(grid)
        total += metrics.entropy(overall) * (codes.shape[1] / layout.length)
    return {"order0_nats_per_code": np.asarray(total), **maps}
