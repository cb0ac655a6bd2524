"""Several codes per position, each of what the codes before it leave."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.config.annotations import Range
from vqjax.config.check import Section, build, check_fields, check_name
from vqjax.ops.keys import fold_in
from vqjax.quantizers.base import Quantized, Quantizer
from vqjax.quantizers.codebook import Codebook
from vqjax.system.errors import InputError


class Residual(Quantizer):
    """Residual quantization (Zeghidour et al. 2021, sec. III-C; Lee et al. 2022, sec. 3.1): several codes per position.

    Level d quantizes r_d = z - q_1 - … - q_{d-1}, what the levels before it leave, and z_q is the sum of all q_d. The
    first codes are a preview. The loss is the sum of the levels' losses. Its gradient reaches z through each r_d, in
    which q_1, q_2, … are constant. The gradient of z_q is that of one quantizer: it is estimated from z and the sum.
    Where a level's metric is a term of the loss, `<name>_1`, `<name>_2`, … are the levels' and `<name>` is their sum.

    Attributes:
      code_dim: D.
      quantizer: an entry of QUANTIZERS with codes, which stands for each level.
      depth: number of levels, and of codes per position.
      shared: one codebook for all levels, or one each.
    """

    quantizer: Quantizer
    depth: Annotated[int, Range(1, 64)] = 2
    shared: bool = False

    @classmethod
    def from_section(cls, section: Section, choice: str, **given: Any) -> "Residual":
        """Make it of its fields in a section, and its quantizer of the section that the field `quantizer` names.

        Args:
          section: `config.model`.
          choice: name of its own section in it.
          **given: arguments of both that no config has.

        Raises:
          InputError: a field is wrong.
        """
        from vqjax.quantizers import QUANTIZERS  # this class is in it

        own = section.part(choice)
        fields = {name: value for name, value in own.values.items() if name != "quantizer"}
        if (name := own.values.get("quantizer")) == choice:
            raise InputError(f"{own.key}.quantizer={name!r}: expected another entry")
        check_name(QUANTIZERS, name, f"{own.key}.quantizer")
        inner = build(QUANTIZERS, Section(section.key, {**section.values, "quantizer": name}), "quantizer", **given)
        given = {**given, "quantizer": inner}
        return cls(**check_fields(cls, fields, own.key, given), **given)

    def setup(self):
        self._check_level("Residual")
        self.levels = [self.quantizer] * self.depth if self.shared else [self._template() for _ in range(self.depth)]

    def _template(self) -> Quantizer:
        """Return an unbound copy of `quantizer`: one whose properties and checks create no variables here."""
        return self.quantizer.clone()

    @property
    def num_codes(self) -> int:
        """K of each level."""
        return self._template().num_codes

    @property
    def initial_vectors(self) -> int:
        """Number of the encoder's vectors that `initialize` wants."""
        return self._template().initial_vectors

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, for an entry that cannot be a level, or is wrong in itself."""
        self._check_level(key)
        self._template().check(f"{key}.quantizer")

    def _check_level(self, key: str) -> None:
        """Raise InputError for an entry that cannot be a level."""
        inner = self._template()
        kind = type(inner).__name__
        if isinstance(inner, Residual) or not inner.num_codes:
            raise InputError(f"{key}.quantizer: expected an entry with one code per position, got {kind}")
        if inner.code_dim != self.code_dim:
            raise InputError(f"{key}.quantizer: expected code_dim {self.code_dim}, got {inner.code_dim}")
        if isinstance(inner, Codebook) and (inner.cosine or inner.projection):
            raise InputError(
                f"{key}.quantizer: expected cosine=False and projection=0 in {kind}, since what is left of a unit "
                "vector is none; a lower code_dim does what a projection does"
            )
        if inner.vector_dim != self.code_dim:
            raise InputError(f"{key}.quantizer: expected vectors of {self.code_dim} numbers, got {inner.vector_dim}")
        if self.shared and not isinstance(inner, Codebook):
            raise InputError(f"{key}.shared=True: expected an entry with a codebook of vectors, got {kind}")

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: Any) -> Quantized:
        """Quantize z (..., D) level by level; codes (..., depth), or (...) of one level."""
        residuals, parts = [z], []
        for number, level in enumerate(self.levels):
            part = level.quantize(residuals[-1], train and not self.shared, progress, _level_keys(keys, number))
            parts.append(part)
            residuals.append(residuals[-1] - jax.lax.stop_gradient(part.z_q))
        if self.shared and train and not self.is_initializing():  # once, so that all levels see the same codebook
            fixed = jax.lax.stop_gradient(jnp.stack(residuals[:-1], axis=-2))  # (..., depth, D)
            self.quantizer.follow(fixed, jnp.stack([part.codes for part in parts], axis=-1))
        if self.depth == 1:
            return parts[0]
        z_q, loss = (functools.reduce(jnp.add, terms) for terms in zip(*[(part.z_q, part.loss) for part in parts]))
        codes = jnp.stack([part.codes for part in parts], axis=-1)
        return Quantized(z_q, codes, loss, self._metrics([part.metrics for part in parts]))

    def _metrics(self, levels: list[dict[str, jax.Array]]) -> dict[str, jax.Array]:
        """Merge the metrics of the levels."""
        metrics = {}
        for name, first in levels[0].items():
            values = [level[name] for level in levels]
            if name == "code_frequency":
                metrics[name] = jnp.stack(values)  # (depth, K)
            elif name in self.levels[0].schedule_metrics:
                metrics[name] = first
            else:
                metrics[name] = functools.reduce(jnp.add, values)
                metrics |= {f"{name}_{number}": value for number, value in enumerate(values, 1)}
        return metrics

    def estimate(self, z: jax.Array, z_q: jax.Array) -> jax.Array:
        """Return the sum z_q (..., D) with the gradient to z (..., D) that the levels' quantizer gives one vector."""
        return self.levels[0].estimate(z, z_q)

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Return the sum of the vectors of the first d levels: codes (..., d) -> (..., D) float32.

        Of one level codes are (...). Raises InputError for more levels than there are, and for none.
        """
        if self.depth == 1:
            return self.levels[0].lookup(codes)
        if not 1 <= (count := codes.shape[-1] if codes.ndim else 0) <= self.depth:
            raise InputError(f"codes {[*codes.shape]}: expected a last axis of 1 to {self.depth} levels")
        return functools.reduce(jnp.add, [self.levels[number].lookup(codes[..., number]) for number in range(count)])

    def code_vectors(self) -> jax.Array:
        """Return the vectors of the codes of each level, (depth, K, D) float32; of one level, (K, D)."""
        by_level = [level.code_vectors() for level in self.levels]
        return jnp.stack(by_level) if self.depth > 1 else by_level[0]

    def initialize(self, vectors: Any, seed: int) -> None:
        """Start the codebooks, one after the other, from what the ones before leave of vectors (N, D). Not traceable.

        A shared codebook starts from what all levels have to quantize.
        """
        residuals = [np.asarray(self._float32(vectors))]
        for level in self.levels:
            level.initialize(np.concatenate(residuals) if self.shared else residuals[-1], seed)
            residuals.append(residuals[-1] - np.asarray(level.quantize(residuals[-1], False, 1.0, None).z_q))

    def after_update(self, z: jax.Array, gather: Callable[[jax.Array], jax.Array], key: jax.Array) -> None:
        """Change each level by what the levels before it leave of z (..., D), computed only where it is gathered."""
        vectors = self._float32(z).reshape(-1, self.code_dim)
        if self.shared:
            self.quantizer.after_update(vectors, lambda z: gather(jnp.concatenate(self._residuals(z))), key)
            return
        for number, level in enumerate(self.levels):
            left = functools.partial(self._residuals, count=number)
            level.after_update(vectors, lambda z, left=left: gather(left(z)[-1]), _level_key(key, number))

    def _residuals(self, z: jax.Array, count: int | None = None) -> list[jax.Array]:
        """Return z (N, D) and what is left after each of the first `count` levels, by default all but the last."""
        residuals = [z]
        for level in self.levels[: self.depth - 1 if count is None else count]:
            residuals.append(residuals[-1] - level.quantize(residuals[-1], False, 1.0, None).z_q)
        return residuals


def _level_key(key: jax.Array, number: int) -> jax.Array:
    """Return the key of a level; the first has the key itself, as a quantizer on its own."""
    return jax.random.fold_in(key, number) if number else key


def _level_keys(keys: jax.Array | None, number: int) -> jax.Array | None:
    """Return the keys (B,) of a level."""
    return fold_in(keys, number) if number else keys
