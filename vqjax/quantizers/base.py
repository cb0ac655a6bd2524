"""What every quantizer is: vectors (..., D) to codes and back."""

from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax


class Quantized(NamedTuple):
    """What a quantizer makes of z (..., D).

    Attributes:
      z_q: (..., D), what the decoder sees, with the straight-through gradient.
      codes: (...) int32 in [0, num_codes); None if num_codes is 0.
      loss: (), the quantizer's own, already weighted, term of the objective.
      metrics: means over the batch: the parts of the loss, and `code_frequency` (K,).
    """

    z_q: jax.Array
    codes: jax.Array | None
    loss: jax.Array
    metrics: dict[str, jax.Array]


class Quantizer(nn.Module):
    """The contract, with what a quantizer has that has nothing to say on a point.

    Called as `quantizer(z, train, progress, keys) -> Quantized`. A quantizer with codes has `num_codes` and `lookup`.
    One that changes its codebook outside a gradient step does it in `initialise`, once before step 0, and in `refresh`,
    after each update; both are applied with every collection mutable. Codebook, statistics, distances and losses are
    float32 whatever the dtype of z.

    Attributes:
      code_dim: D.
    """

    code_dim: int

    if TYPE_CHECKING:  # each has it, as a field, a number or a property: a value here would be the field's default

        @property
        def num_codes(self) -> int:
            """K; 0: there are no codes, and no second stage."""

    @property
    def input_dim(self) -> int:
        """Channels of z, which the encoder has to give."""
        return self.code_dim

    @property
    def initial_vectors(self) -> int:
        """How many of the encoder's vectors `initialise` wants."""
        return 0

    def check(self, key: str) -> None:
        """Raises InputError, naming the config's `key`, if the fields contradict each other."""

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, keys: jax.Array | None = None) -> Quantized:
        """z (..., D) -> Quantized. With `train` the collections follow the batch.

        Args:
          z: of any float dtype, which z_q has too.
          train: or evaluate; an evaluation draws nothing and changes nothing.
          progress: share of the run that is done, for schedules.
          keys: (B,) PRNG keys, one per row of the first axis of z, for quantizers that draw in training; None: no draw.
        """
        raise NotImplementedError

    def lookup(self, codes: jax.Array) -> jax.Array:
        """(...,) codes -> (..., D) vectors, float32: what z_q is where those are the codes."""
        raise NotImplementedError

    def initialize(self, vectors: jax.Array, seed: int) -> None:
        """Starts the codebook from vectors (N, D), N >= K, of the encoder. Not traceable."""

    def after_update(self, z: jax.Array, key: jax.Array) -> None:
        """Changes the codebook after an update, by the global batch z (..., D) and the same key on every device."""
