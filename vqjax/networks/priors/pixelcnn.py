"""Gated PixelCNN over codes (van den Oord et al. 2016, arXiv 1606.05328), and its exact cached sampler."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.codes import require_single
from vqjax.config.annotations import Depth, Rate, Width
from vqjax.networks.layers import dropout, get_or_create_param
from vqjax.networks.priors import orders
from vqjax.networks.priors.base import Draw, Prior, draw_group
from vqjax.ops.conv import conv_valid
from vqjax.ops.matmul import Dense
from vqjax.system.errors import InputError

_REACH = 3  # rows above, and columns to either side, that the first layer sees: 7 x 7 under mask A


def _pad(x: jax.Array, top: int, left: int, right: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (top, 0), (left, right), (0, 0)))


class _Window(nn.Module):
    """Convolution without padding, with a bias. Masks need no zeros in the kernel: the caller shifts the input.

    Attributes:
      features: output channels.
      rows, columns: of the kernel.
      dtype: type that it computes in.
    """

    features: int
    rows: int
    columns: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve: (B, h + rows - 1, w + columns - 1, C) -> (B, h, w, features)."""
        shape = (self.rows, self.columns, x.shape[-1], self.features)
        kernel = get_or_create_param(self, "kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = get_or_create_param(self, "bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return conv_valid(x.astype(self.dtype), kernel) + bias


def _gate(x: jax.Array) -> jax.Array:
    """Return tanh(a) sigmoid(b) of the two halves of the channels (eq. 2): (..., 2 F) -> (..., F)."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * nn.sigmoid(b)


class _Layer(nn.Module):
    """One layer of both stacks (fig. 2): the vertical one sees the rows above, the horizontal one also the row so far.

    Attributes:
      width: F, channels of each stack.
      first: use mask A, 7 x 7, which hides the position itself, instead of mask B, 3 x 3.
      num_classes: number of classes that condition both stacks (eq. 4); 0 for none.
      dropout: share of the horizontal stack's gated activations that training drops.
      dtype: type that it computes in.
    """

    width: int
    first: bool
    num_classes: int
    dropout: float
    dtype: Any

    def setup(self):
        rows, columns, columns_left = (_REACH, 2 * _REACH + 1, _REACH) if self.first else (2, 3, 2)
        self.above = _Window(2 * self.width, rows, columns, self.dtype)
        self.left = _Window(2 * self.width, 1, columns_left, self.dtype)
        self.across = Dense(2 * self.width, dtype=self.dtype)
        self.residual = Dense(self.width, dtype=self.dtype)
        if self.num_classes:
            self.classes = nn.Embed(self.num_classes, 2 * self.width, dtype=self.dtype)

    def condition(self, labels: jax.Array) -> jax.Array:
        """Return the summand of labels (B,) before the gates of both stacks, (B, 1, 1, 2 F); without classes, 0."""
        return self.classes(labels)[:, None, None] if self.num_classes else jnp.zeros((), self.dtype)

    def vertical(self, window: jax.Array, condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Apply the vertical stack.

        Args:
          window: its input, padded by what the kernel sees beyond the grid.
          condition: the summand of the labels.

        Returns:
          Its output (B, h, w, F), and its contribution to the horizontal stack (B, h, w, 2 F).
        """
        x = self.above(window)
        return _gate(x + condition), self.across(x) + condition

    def horizontal(
        self, window: jax.Array, here: jax.Array, across: jax.Array, keys: jax.Array | None = None
    ) -> jax.Array:
        """Apply the horizontal stack.

        Args:
          window: its input, padded by what the kernel sees left of the grid.
          here: its input at the position itself (B, h, w, F), for the skip connection.
          across: the contribution of the vertical stack (B, h, w, 2 F).
          keys: PRNG keys (B,) for dropout, or None.

        Returns:
          Its output (B, h, w, F).
        """
        x = self.residual(dropout(_gate(self.left(window) + across), self.dropout, keys))
        return x if self.first else here + x


class PixelCNN(Prior):
    """Gated PixelCNN: p(codes | class) as a product over positions in raster order, each given all codes before it.

    Attributes:
      layout: one level of depth 1.
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
        """Raise InputError, naming the config's `key`, unless the layout is a grid with one code per position."""
        if len(require_single(self.layout, key).grid) != 2:
            raise InputError(f"{key}: expected the codes of images, found {self.layout}")

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the codes."""
        height, width = self.layout.levels[0].grid
        return height, width

    def setup(self):
        self.embedding = nn.Embed(self.layout.max_codes, self.width, dtype=self.dtype)
        self.stack = [
            _Layer(self.width, i == 0, self.num_classes, self.dropout, self.dtype) for i in range(self.layers)
        ]
        self.hidden = Dense(self.head_width, dtype=self.dtype)
        self.logits = Dense(self.layout.max_codes, dtype=self.dtype)

    def __call__(
        self,
        codes: jax.Array,
        labels: jax.Array,
        keys: jax.Array | None = None,
        order: jax.Array | None = None,
        groups: Sequence[int] | None = None,
    ) -> jax.Array:
        """Return the logits of each place's code given those before it, (B, L, K) float32; see Prior."""
        self._require_raster(order, groups)
        x = self._embed(codes.reshape(-1, *self.grid))  # (B, h, w, F)
        v_window = _pad(x[:, :-1], _REACH, _REACH, _REACH)
        h, h_window = x, _pad(x[:, :, :-1], 0, _REACH, 0)
        for i, layer in enumerate(self.stack):
            layer_keys = None if keys is None else jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys)
            v, across = layer.vertical(v_window, layer.condition(labels))
            h = layer.horizontal(h_window, h, across, layer_keys)
            v_window, h_window = _pad(v, 1, 1, 1), _pad(h, 0, 1, 0)
        return self._predict(h).reshape(*codes.shape, -1)

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
        """Return codes (B, L), drawn one by one from cached activations (Ramachandran et al. 2017); see Prior.

        The vertical stack is computed once per row, the horizontal one once per position.
        """
        self._require_raster(order, groups)
        known, places = self._known_and_places(labels, known, None)
        module, variables = self.unbind()
        conditions = [layer.condition(labels) for layer in self.stack]
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

        def draw_row(cache, places):
            codes_above, rows = cache
            across, rows = call(PixelCNN._row, codes_above, rows, conditions)
            cache = zeros(1, _REACH), [zeros(1, 1) for _ in rows]
            _, (codes, here) = jax.lax.scan(draw_position, cache, (places, across))  # (w, B), (w, B, F)
            codes_above = jnp.concatenate([codes_above[:, 1:], here.swapaxes(0, 1)[:, None]], axis=1)
            return (codes_above, rows), codes

        cache = zeros(_REACH, width), [zeros(1, width) for _ in self.stack[1:]]
        codes = jax.lax.scan(draw_row, cache, places.T.reshape(height, width, -1))[1]  # (h, w, B)
        return codes.reshape(height * width, -1).T

    def _row(
        self, codes_above: jax.Array, rows: list[jax.Array], conditions: list[jax.Array]
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Compute the vertical stack at one row.

        Args:
          codes_above: embedded codes of the three rows before, (B, 3, w, F).
          rows: the vertical inputs of the layers after the first at the row before, (B, 1, w, F) each.
          conditions: the summand of the labels, of each layer.

        Returns:
          The contribution to the horizontal stack at each position, (w, layers, B, 1, 1, 2 F), and `rows` of this row.
        """
        window, contributions, new_rows = _pad(codes_above, 0, _REACH, _REACH), [], []
        for i, layer in enumerate(self.stack):
            v, across = layer.vertical(window, conditions[i])
            contributions.append(across)
            if i + 1 < self.layers:
                window = _pad(jnp.concatenate([rows[i], v], axis=1), 0, 1, 1)
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
