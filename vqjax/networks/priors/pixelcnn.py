"""The gated PixelCNN over codes (van den Oord et al. 2016, arXiv 1606.05328), and its exact cached sampler."""

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
from vqjax.ops.matmul import Dense, dense
from vqjax.ops.platforms import by_platform
from vqjax.ops.winograd import is_faster, winograd_conv
from vqjax.system.errors import InputError

_REACH = 3  # rows above and columns to either side that the first layer sees: 7 x 7 under mask A


def _pad(x: jax.Array, top: int, left: int, right: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (top, 0), (left, right), (0, 0)))


class _Window(nn.Module):
    """Convolution without padding: (B, h + rows - 1, w + columns - 1, C) -> (B, h, w, features).

    The caller applies a PixelCNN's mask by where its window ends: above a position, or left of it. On a CPU the
    convolution is a matrix product over shifted copies side by side, or done by Winograd: the same sum, faster.

    Attributes:
      features: output channels.
      rows, columns: size of the kernel.
      dtype: of the computation.
    """

    features: int
    rows: int
    columns: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.rows, self.columns, x.shape[-1], self.features)
        kernel = get_or_create_param(self, "kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = get_or_create_param(self, "bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        x = x.astype(self.dtype)

        def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
            layout = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)

        h, w = x.shape[1] - self.rows + 1, x.shape[2] - self.columns + 1

        def side_by_side(x: jax.Array, kernel: jax.Array) -> jax.Array:
            offsets = [(i, j) for i in range(self.rows) for j in range(self.columns)]
            x = jnp.stack([x[:, i : i + h, j : j + w] for i, j in offsets], 3)
            return dense(x.reshape(*x.shape[:3], -1), kernel.reshape(-1, self.features))

        on_cpu = winograd_conv if is_faster(shape, (h, w), x.dtype) else side_by_side
        return by_platform(x, kernel, cpu=on_cpu, default=plain) + bias


def _gate(x: jax.Array) -> jax.Array:
    """Return tanh(a) sigmoid(b) of the two halves of the channels (eq. 2)."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * nn.sigmoid(b)


class _Layer(nn.Module):
    """Both stacks of one layer (fig. 2): the vertical one sees rows above, the horizontal one also codes to the left.

    Attributes:
      width: F, channels of each stack.
      first: whether it is the first: mask A, 7 x 7, without the position itself; otherwise mask B, 3 x 3.
      num_classes: number of classes that condition both stacks (eq. 4); 0 for none.
      dropout: share of the horizontal stack's gated activations that is dropped.
      dtype: of the computation.
    """

    width: int
    first: bool
    num_classes: int
    dropout: float
    dtype: Any

    def setup(self):
        rows, columns, left = (_REACH, 2 * _REACH + 1, _REACH) if self.first else (2, 3, 2)
        self.above = _Window(2 * self.width, rows, columns, self.dtype)
        self.left = _Window(2 * self.width, 1, left, self.dtype)
        self.across = Dense(2 * self.width, dtype=self.dtype)
        self.residual = Dense(self.width, dtype=self.dtype)
        if self.num_classes:
            self.classes = nn.Embed(self.num_classes, 2 * self.width, dtype=self.dtype)

    def condition(self, labels: jax.Array) -> jax.Array:
        """Return the labels' summand in both stacks before the gate, (B, 1, 1, 2 F), or 0 without classes."""
        return self.classes(labels)[:, None, None] if self.num_classes else jnp.zeros((), self.dtype)

    def vertical(self, window: jax.Array, condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the vertical output (B, h, w, F) and its summand in the horizontal stack, (B, h, w, 2 F)."""
        x = self.above(window)
        return _gate(x + condition), self.across(x) + condition

    def horizontal(
        self, window: jax.Array, here: jax.Array, across: jax.Array, keys: jax.Array | None = None
    ) -> jax.Array:
        """Return the horizontal output (B, h, w, F).

        Args:
          window: of the input, (B, h, w + columns - 1, F).
          here: last columns of the window, (B, h, w, F).
          across: summand from the vertical stack.
          keys: PRNG keys (B,), for dropout.
        """
        x = self.residual(dropout(_gate(self.left(window) + across), self.dropout, keys))
        return x if self.first else here + x


class PixelCNN(Prior):
    """p(codes | class) as a product over positions in raster order, each given all the codes before it.

    Attributes:
      layout: one level of depth 1.
      num_classes: number of classes that condition every layer (eq. 4); 0 for an unconditional model.
      dtype: of the computation.
      width: F, channels of each stack.
      layers: the first with mask A, 7 x 7, the others with mask B, 3 x 3.
      head_width: channels between the last layer and the logits.
      dropout: share of the horizontal stacks' activations that is dropped in training.
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
            own = None if keys is None else jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys)
            v, across = layer.vertical(v_window, layer.condition(labels))
            h = layer.horizontal(h_window, h, across, own)
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

        def position(cache, inputs):
            left, columns = cache
            place, across = inputs
            logits, columns = call(PixelCNN._position, left, columns, across)
            codes = draw_group(draw, logits[:, None], place[:, None], known)
            here = call(PixelCNN._embed, codes[:, None])
            return (jnp.concatenate([left[:, :, 1:], here], axis=2), columns), (codes[:, 0], here[:, 0, 0])

        def row(cache, places):
            above, rows = cache
            across, rows = call(PixelCNN._row, above, rows, conditions)
            cache = zeros(1, _REACH), [zeros(1, 1) for _ in rows]
            _, (codes, here) = jax.lax.scan(position, cache, (places, across))  # (w, B), (w, B, F)
            above = jnp.concatenate([above[:, 1:], here.swapaxes(0, 1)[:, None]], axis=1)
            return (above, rows), codes

        cache = zeros(_REACH, width), [zeros(1, width) for _ in self.stack[1:]]
        codes = jax.lax.scan(row, cache, places.T.reshape(height, width, -1))[1]  # (h, w, B)
        return codes.reshape(height * width, -1).T

    def _row(
        self, above: jax.Array, rows: list[jax.Array], conditions: list[jax.Array]
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Compute the vertical stack at one row.

        Args:
          above: embedded codes of the three rows before, (B, 3, w, F).
          rows: vertical inputs of the layers after the first at the row before, (B, 1, w, F) each.
          conditions: summands of the labels in each layer.

        Returns:
          Summands in the horizontal stack at each position, (w, layers, B, 1, 1, 2 F), and `rows` of this row.
        """
        window, acrosses, new = _pad(above, 0, _REACH, _REACH), [], []
        for i, layer in enumerate(self.stack):
            v, across = layer.vertical(window, conditions[i])
            acrosses.append(across)
            if i + 1 < self.layers:
                window = _pad(jnp.concatenate([rows[i], v], axis=1), 0, 1, 1)
                new.append(v)
        return jnp.stack(acrosses).transpose(3, 0, 1, 2, 4)[..., None, :], new

    def _position(
        self, left: jax.Array, columns: list[jax.Array], across: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Compute the horizontal stack at one position.

        Args:
          left: embedded codes of the three columns before, (B, 1, 3, F).
          columns: horizontal inputs of the layers after the first at the column before, (B, 1, 1, F) each.
          across: summands from the vertical stack, (layers, B, 1, 1, 2 F).

        Returns:
          The logits (B, K), and `columns` of this position.
        """
        window, h, new = left, left, []  # the first layer does not use h
        for i, layer in enumerate(self.stack):
            h = layer.horizontal(window, h, across[i])
            if i + 1 < self.layers:
                window = jnp.concatenate([columns[i], h], axis=2)
                new.append(h)
        return self._predict(h)[:, 0, 0], new
