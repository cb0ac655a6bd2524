"""Transformer over codes in any order, and its exact cached sampler.

The first half of the layers reads: causal self-attention over a class token and then the codes, in the order in which
they come. The second half predicts: the query of a place knows the place and the class, and no code. All queries
attend to one shared set of keys and values, made of the first half's output, of which each sees the class token and the
codes before its group. So queries do not see each other, and what is known of a code does not change with those that
follow: codes that are drawn together see in sampling what they see in training. (The halves and the shared keys and
values are those of ARPG, Li et al. 2025, arXiv 2503.10568.)
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.codes import CodeLayout
from vqjax.config.annotations import Multiple, OneOf, Range, Rate, Width
from vqjax.networks.priors import orders
from vqjax.networks.priors.base import Draw, Prior
from vqjax.networks.priors.blocks import Block, KeysAndValues, Memory, Rotation, angles, rms_norm
from vqjax.networks.priors.cache import CachedSampler
from vqjax.ops.keys import fold_in
from vqjax.ops.matmul import Dense
from vqjax.system.errors import InputError

_UNLABELED = 0.1  # share of labels that are dropped in training
_CLASS = -1  # place of the class token
_SEGMENTS = 4  # in which a cache grows while codes are drawn: attention to its empty part costs time


class Codebooks(NamedTuple):
    """Codebooks of a layout, one for each depth of each level, in one table of embeddings.

    Attributes:
      sizes: number of codes of each codebook, (C,).
      of_place: number of each place's codebook, (L,).
    """

    sizes: np.ndarray
    of_place: np.ndarray

    @classmethod
    def of(cls, layout: CodeLayout) -> "Codebooks":
        """Codebooks of a layout, level by level."""
        depths = [level.depth for level in layout.levels]
        level, depth, *_ = layout.coordinates.T
        of_place = np.cumsum([0, *depths])[level] + depth
        return cls(np.repeat([level.num_codes for level in layout.levels], depths), of_place)

    @property
    def offsets(self) -> np.ndarray:
        """Row of code 0 of each place's codebook in the table, (L,)."""
        return (np.cumsum(self.sizes) - self.sizes)[self.of_place]


def positions(layout: CodeLayout) -> np.ndarray:
    """Return the rows and columns (L, 2) of the places' centers on the finest grid."""
    grids = np.array([level.grid[-2:] for level in layout.levels])
    level, coordinates = layout.coordinates[:, 0], layout.coordinates[:, 2:]
    return (coordinates + 0.5) * (grids.max(0) / grids)[level] - 0.5


class Transformer(Prior):
    """p(codes | class) as a product over places in any order, each given the codes before its group.

    A code's token is the sum of the embeddings of the code, in the codebook of its level and depth, and of its place; a
    query at first that of its place and its class. Rows and columns are in the rotations of queries and keys, too. The
    label `num_classes` stands for no class.

    Attributes:
      layout, num_classes, dtype: see Prior.
      width: F, numbers per token.
      layers: even: half of them read codes, half predict them.
      heads: H, of F / H numbers each, a multiple of 4.
      dropout: share of what each layer adds that is dropped in training.
      order: "raster", or "any" to train in random orders, too.
      random_share: share of examples in random order in the last third of training; in the first third all are, and in
        between the share falls linearly. Above 0 the prior can take any order.
    """

    width: Width
    layers: Annotated[int, Range(2, 256), Multiple(2)]
    heads: Annotated[int, Range(1, 2**14)]
    dropout: Rate
    order: Annotated[str, OneOf(("raster", "any"))]
    random_share: Annotated[float, Range(0, 1)]

    @property
    def any_order(self) -> bool:
        """Whether other orders than the raster's, and groups, are possible: training must not end without them."""
        return self.order == "any" and self.random_share > 0

    @property
    def has_no_class(self) -> bool:
        """Whether there are classes, and so the label that stands for none."""
        return self.num_classes > 0

    @nn.nowrap
    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, if the heads do not divide the width into multiples of 4."""
        if self.width % (4 * self.heads):
            raise InputError(
                f"{key}.heads={self.heads}: expected heads of a multiple of 4 numbers; {key}.width={self.width}"
            )

    def setup(self):
        self.codebooks = Codebooks.of(self.layout)
        self.embedding = nn.Embed(int(sum(self.codebooks.sizes)), self.width, dtype=self.dtype)
        self.places = nn.Embed(self.layout.length, self.width, dtype=self.dtype)
        self.classes = nn.Embed(self.num_classes + 1, self.width, dtype=self.dtype)
        half, fields = self.layers // 2, (self.width, self.heads)
        self.readers = [Block(*fields, self.dropout, self.dtype) for _ in range(half)]
        self.memories = [KeysAndValues(*fields, self.dtype) for _ in range(half + 1)]  # the last is the shared one
        self.predictors = [Block(*fields, self.dropout, self.dtype) for _ in range(half)]
        self.head = Dense(self.layout.max_codes, use_bias=False, dtype=self.dtype)

    def __call__(
        self,
        codes: jax.Array,
        labels: jax.Array,
        keys: jax.Array | None = None,
        order: jax.Array | None = None,
        groups: Sequence[int] | None = None,
    ) -> jax.Array:
        """Return the logits of each place's code given the codes before its group, (B, L, K) float32; see Prior."""
        raster = np.arange(self.layout.length)[None]
        before: Any = orders.group_starts(orders.complete_groups(groups, self.layout.length))
        places: Any = raster
        if order is not None:
            codes, places = jnp.take_along_axis(codes, order, axis=1), order
            before = jnp.asarray(before)[orders.ranks(order)]  # (B, L), at the places
        token = self.class_token(labels, keys)
        *_, memory = self.read(codes[:, :-1], places[:, :-1], token, keys=keys)
        return self.predict(raster, token, memory, before + 1, keys)

    def training_order(self, keys: jax.Array, progress: jax.Array | float) -> jax.Array | None:
        """Return the orders of a training batch, (B, L): some random, the others the raster's; see Prior."""
        if self.order == "raster":
            return None
        share = 1 - (1 - self.random_share) * jnp.clip(3 * progress - 1, 0, 1)

        def draw_order(key: jax.Array) -> jax.Array:
            choice, shuffle = jax.random.split(jax.random.fold_in(key, self.layers + 1))
            raster = jnp.arange(self.layout.length)
            return jnp.where(jax.random.bernoulli(choice, share), jax.random.permutation(shuffle, raster), raster)

        return jax.vmap(draw_order)(keys)

    def _rotation(self, places: Any) -> Rotation:
        """Return the rotation of places (B or 1, N), none of the class token's."""
        turns = angles(positions(self.layout), self.width // self.heads)
        turns = np.concatenate([turns, np.zeros_like(turns[:1])])  # the last is that of place -1
        return jnp.asarray(np.cos(turns))[places][:, None], jnp.asarray(np.sin(turns))[places][:, None]

    def class_token(self, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Return the token (B, 1, F) of labels (B,); in training, by PRNG keys (B,), some labels are dropped."""
        labels = labels if self.num_classes else jnp.zeros_like(labels)
        if keys is not None:
            dropped = jax.vmap(lambda key: jax.random.bernoulli(key, _UNLABELED))(fold_in(keys, self.layers))
            labels = jnp.where(dropped, self.num_classes, labels)
        return self.classes(labels)[:, None]

    def read(
        self,
        codes: jax.Array,
        places: Any,
        first: jax.Array | None = None,
        memories: list[Memory] | None = None,
        start: jax.Array | int = 0,
        keys: jax.Array | None = None,
    ) -> list[Memory]:
        """Return the keys and values of the first half's layers, and last those that the second half shares.

        Args:
          codes: (B, N).
          places: of the codes, (B or 1, N).
          first: class token (B, 1, F) that comes before them; None if it has been read.
          memories: of the tokens that were read before, with room for these; None for exactly these.
          start: number of tokens that were read before.
          keys: PRNG keys (B,), for dropout.
        """
        x = self.embedding(codes + jnp.asarray(self.codebooks.offsets)[places]) + self.places(places)
        if first is not None:
            x = jnp.concatenate([first, x], axis=1)
            places = jnp.pad(places, ((0, 0), (1, 0)), constant_values=_CLASS)
        rotation, visible, filled = self._rotation(places), start + 1 + jnp.arange(x.shape[1]), []
        for i, project in enumerate(self.memories):
            memory = project(x, rotation)
            if memories is not None:
                write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, start, axis=2)  # noqa: E731
                memory = jax.tree.map(write, memories[i], memory)
            filled.append(memory)
            if i < len(self.readers):
                x = self.readers[i](x, memory, rotation, visible, fold_in(keys, i))
        return filled

    def predict(
        self, places: Any, token: jax.Array, memory: Memory, visible: Any, keys: jax.Array | None = None
    ) -> jax.Array:
        """Return the logits (B, N, K) at places (B or 1, N).

        Args:
          places: of the queries.
          token: of the class, (B, 1, F).
          memory: the shared keys and values.
          visible: number of tokens in it that each query sees, (N,) or (B, N).
          keys: PRNG keys (B,), for dropout.
        """
        x, rotation = self.places(places) + token, self._rotation(places)
        for i, block in enumerate(self.predictors):
            x = block(x, memory, rotation, visible, fold_in(keys, len(self.readers) + i))
        x = rms_norm(x)
        if (number := len(self.codebooks.sizes)) > 1:  # each codebook has rows of the head's kernel for itself
            mine = jax.nn.one_hot(jnp.asarray(self.codebooks.of_place)[places], number, dtype=x.dtype)
            x = (mine[..., None] * x[..., None, :]).reshape(*x.shape[:2], -1)  # (B, N, C F)
        logits = self.head(x).astype(jnp.float32)
        if min(self.codebooks.sizes) == self.layout.max_codes:
            return logits
        available = np.arange(self.layout.max_codes) < self.layout.num_codes[:, None]  # (L, K)
        return jnp.where(jnp.asarray(available)[places], logits, -jnp.inf)

    def sample(
        self,
        labels: jax.Array,
        draw: Draw,
        known: jax.Array | None = None,
        groups: Sequence[int] | None = None,
        order: jax.Array | None = None,
        num_known: int = 0,
    ) -> jax.Array:
        """Return codes (B, L), drawn group by group with cached keys and values; see Prior."""
        known, places = self._known_and_places(labels, known, order)
        start, groups = orders.skip_known(orders.complete_groups(groups, self.layout.length), num_known)
        if not groups:
            return known
        sampler = CachedSampler(*self.unbind(), draw, places, known, self.class_token(labels))
        parts = [jnp.take_along_axis(known, places, axis=1)[:, :start]]  # along the order
        memories = sampler.begin(parts[0])
        for run in orders.runs(groups[:-1], start, -(-self.layout.length // _SEGMENTS)):
            memories, codes = sampler.draw_run(run, memories)
            parts.append(codes)
        parts.append(sampler.draw_group(self.layout.length - groups[-1], groups[-1], memories))
        codes = jnp.concatenate(parts, axis=1)
        return codes if order is None else jnp.take_along_axis(codes, orders.ranks(order), axis=1)
