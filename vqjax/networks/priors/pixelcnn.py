"""Gated PixelCNN over codes (van den Oord et al. 2016, arXiv 1606.05328), and its exact cached sampler."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.codes import CodeLayout, require_single
from vqjax.config.annotations import Depth, Rate, Width
from vqjax.networks.priors import orders
from vqjax.networks.priors.base import Draw, Prior, draw_group
from vqjax.networks.priors.gated_layer import REACH, GatedLayer, pad
from vqjax.ops.keys import fold_in
from vqjax.ops.matmul import Dense
from vqjax.system.errors import InputError


class PixelCNN(Prior):
    """Gated PixelCNN: p(codes | class) as a product over positions in raster order, each given all codes before it.

    Of several levels it models the last, given all codes of the others, which condition every layer at the positions
    that they lie over (Razavi et al. 2019, sec. 3.2).

    Attributes:
      layout: the last level of depth 1.
      num_classes: number of classes that condition every layer (eq. 4); 0 for an unconditional model.
      dtype: type that it computes in.
      width: F, channels of each stack.
      layers: number of layers; the first has mask A, 7 x 7, the others mask B, 3 x 3.
      head_width: channels between the last layer and the logits.
      dropout: share of the horizontal stacks' activations that training drops.
    """

    width: Width
    layers: Depth
    head_width: Width
    dropout: Rate

    @nn.nowrap
    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, unless the last level is a grid with one code per position."""
        if len(require_single(CodeLayout(self.layout.levels[-1:]), key).grid) != 2:
            raise InputError(f"{key}: expected the codes of images, found {self.layout}")

    @property
    def modeled(self) -> slice:
        """Places of the last level."""
        return slice(self.layout.length - self.layout.levels[-1].length, self.layout.length)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the codes that it models."""
        height, width = self.layout.levels[-1].grid
        return height, width

    def setup(self):
        *given, own = self.layout.levels
        self.embedding = nn.Embed(own.num_codes, self.width, dtype=self.dtype)
        fields = self.num_classes, bool(given), self.dropout, self.dtype
        self.stack = [GatedLayer(self.width, i == 0, *fields) for i in range(self.layers)]
        self.hidden = Dense(self.head_width, dtype=self.dtype)
        self.logits = Dense(own.num_codes, dtype=self.dtype)
        self.given = [nn.Embed(level.num_codes * level.depth, self.width, dtype=self.dtype) for level in given]

    def _features(self, codes: jax.Array) -> jax.Array | None:
        """Return features (B, h, w, F) of the codes of the levels before the last; None if there are none."""
        features, start = None, 0
        for level, embed in zip(self.layout.levels, self.given):
            grid = codes[:, start : start + level.length].reshape(-1, *level.grid, level.depth)
            of_level = embed(grid + level.num_codes * jnp.arange(level.depth)).sum(-2)
            rows, columns = (size // own for size, own in zip(self.grid, level.grid))
            of_level = of_level.repeat(rows, axis=1).repeat(columns, axis=2)
            features = of_level if features is None else features + of_level
            start += level.length
        return features

    def __call__(
        self,
        codes: jax.Array,
        labels: jax.Array,
        keys: jax.Array | None = None,
        order: jax.Array | None = None,
        groups: Sequence[int] | None = None,
    ) -> jax.Array:
        """Return the logits of each modeled code given those before it, (B, n, K) float32; see Prior."""
        self._require_raster(order, groups)
        features, own = self._features(codes), codes[:, self.modeled]
        x = self._embed(own.reshape(-1, *self.grid))  # (B, h, w, F)
        v_window = pad(x[:, :-1], REACH, REACH, REACH)
        h, h_window = x, pad(x[:, :, :-1], 0, REACH, 0)
        for i, layer in enumerate(self.stack):
            v, across = layer.vertical(v_window, layer.condition(labels, features))
            h = layer.horizontal(h_window, h, across, fold_in(keys, i))
            v_window, h_window = pad(v, 1, 1, 1), pad(h, 0, 1, 0)
        return self._predict(h).reshape(*own.shape, -1)

    def _require_raster(self, order: jax.Array | None, groups: Sequence[int] | None) -> None:
        if order is not None or max(orders.complete_groups(groups, self.layout.length)) > 1:
            raise InputError("a PixelCNN takes codes one by one in raster order: expected no other order or groups")

    def _embed(self, codes: jax.Array) -> jax.Array:
        return self.embedding(codes)

    def _predict(self, h: jax.Array) -> jax.Array:
        return self.logits(nn.relu(self.hidden(nn.relu(h)))).astype(jnp.float32)

    def sample(
        self,
        labels: jax.Array,
        draw: Draw,
        known: jax.Array | None = None,
        groups: Sequence[int] | None = None,
        order: jax.Array | None = None,
        num_known: int = 0,
    ) -> jax.Array:
        """Return codes (B, L), drawn one by one from cached activations (Ramachandran et al. 2017); see Prior."""
        self._require_raster(order, groups)
        known, places = self._known_and_places(labels, known, None)
        codes = self._draw_rows(labels, draw, known, places[:, self.modeled])
        return jnp.concatenate([known[:, : self.modeled.start], codes], axis=1)

    def _draw_rows(self, labels: jax.Array, draw: Draw, known: jax.Array, places: jax.Array) -> jax.Array:
        """Draw the modeled codes, (B, h w), at their places: vertical stack per row, horizontal one per position."""
        module, variables = self.unbind()
        height, width = self.grid

        def call(method: Callable, *arguments: Any) -> Any:
            return module.apply(variables, *arguments, method=method)

        def zeros(rows: int, columns: int) -> jax.Array:
            return jnp.zeros((len(labels), rows, columns, self.width), self.dtype)

        def draw_position(cache, inputs):
            codes_left, columns = cache
            place, across = inputs
            logits, columns = call(PixelCNN._position, codes_left, columns, across)
            codes = draw_group(draw, logits[:, None], place[:, None], known)
            here = call(PixelCNN._embed, codes[:, None])
            return (jnp.concatenate([codes_left[:, :, 1:], here], axis=2), columns), (codes[:, 0], here[:, 0, 0])

        def draw_row(cache, inputs):
            codes_above, rows = cache
            places, conditions = inputs
            across, rows = call(PixelCNN._row, codes_above, rows, conditions)
            cache = zeros(1, REACH), [zeros(1, 1) for _ in rows]
            _, (codes, here) = jax.lax.scan(draw_position, cache, (places, across))  # (w, B), (w, B, F)
            codes_above = jnp.concatenate([codes_above[:, 1:], here.swapaxes(0, 1)[:, None]], axis=1)
            return (codes_above, rows), codes

        cache = zeros(REACH, width), [zeros(1, width) for _ in self.stack[1:]]
        rows = places.T.reshape(height, width, -1), self._conditions(labels, known)
        return jax.lax.scan(draw_row, cache, rows)[1].reshape(height * width, -1).T  # from (h, w, B)

    def _conditions(self, labels: jax.Array, codes: jax.Array) -> jax.Array:
        """Return the summands of labels and other levels row by row, (h, layers, B, 1, w or 1, 2 F)."""
        features = self._features(codes)
        summands = jnp.stack([layer.condition(labels, features) for layer in self.stack])  # (layers, B, h, w, 2 F)
        layers, batch, _, *rest = summands.shape
        summands = jnp.broadcast_to(summands, (layers, batch, self.grid[0], *rest))
        return jnp.moveaxis(summands, 2, 0)[:, :, :, None]

    def _row(
        self, codes_above: jax.Array, rows: list[jax.Array], conditions: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Compute the vertical stack at one row.

        Args:
          codes_above: embedded codes of the three rows before, (B, 3, w, F).
          rows: the vertical inputs of the layers after the first at the row before, (B, 1, w, F) each.
          conditions: the summand of labels and other levels, of each layer, (layers, B, 1, w or 1, 2 F).

        Returns:
          The contribution to the horizontal stack at each position, (w, layers, B, 1, 1, 2 F), and `rows` of this row.
        """
        window, contributions, new_rows = pad(codes_above, 0, REACH, REACH), [], []
        for i, layer in enumerate(self.stack):
            v, across = layer.vertical(window, conditions[i])
            contributions.append(across)
            if i + 1 < self.layers:
                window = pad(jnp.concatenate([rows[i], v], axis=1), 0, 1, 1)
                new_rows.append(v)
        return jnp.stack(contributions).transpose(3, 0, 1, 2, 4)[..., None, :], new_rows

    def _position(
        self, codes_left: jax.Array, columns: list[jax.Array], across: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Compute the horizontal stack at one position.

        Args:
          codes_left: embedded codes of the three columns before, (B, 1, 3, F).
          columns: the horizontal inputs of the layers after the first at the column before, (B, 1, 1, F) each.
          across: the contribution of the vertical stack, (layers, B, 1, 1, 2 F).

        Returns:
          The logits (B, K), and `columns` of this position.
        """
        window, h, new_columns = codes_left, codes_left, []  # the first layer does not look at h
        for i, layer in enumerate(self.stack):
            h = layer.horizontal(window, h, across[i])
            if i + 1 < self.layers:
                window = jnp.concatenate([columns[i], h], axis=2)
                new_columns.append(h)
        return self._predict(h)[:, 0, 0], new_columns
