"""The contract of quantizers: vectors (..., D) to codes and back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.config.annotations import Width
from vqjax.config.check import check_attributes
from vqjax.system.errors import InputError


class Quantized(NamedTuple):
    """Result of quantizing z (..., D).

    Attributes:
      z_q: (..., V), the vectors that the decoder sees, with a gradient to z; V is the quantizer's `vector_dim`.
      codes: (...) int32 in [0, num_codes), with a last axis of `depth` where that is above 1; None if num_codes is 0.
      loss: (), the quantizer's own, already weighted, term of the objective.
      metrics: means over the batch: the terms of the loss, and `code_frequency`, (K,) or (depth, K), each row a
        distribution.
    """

    z_q: jax.Array
    codes: jax.Array | None
    loss: jax.Array
    metrics: dict[str, jax.Array]


class Quantizer(nn.Module):
    """The contract of quantizers, with defaults for all but `quantize`.

    Called as `quantizer(z, train, progress, keys) -> Quantized`. That call is written here, once: it hands `quantize`
    float32 vectors. So codebook, statistics, distances and losses are float32 whatever the dtype of z. A quantizer
    with codes has `num_codes` and `lookup`. One that changes its codebook outside a gradient step does it in
    `initialize`, once before step 0, and in `after_update`, after each update; both are applied with every collection
    mutable. What no step changes is in the collection `constants`.

    Attributes:
      code_dim: D, of the vectors that are quantized.
      depth: codes per position.
      schedule_metrics: names of the metrics that follow the run and not the batch.
    """

    code_dim: Width

    depth = 1
    schedule_metrics: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:  # each has it, as a field, a number or a property: a value here would be the field's default

        @property
        def num_codes(self) -> int:
            """K; 0: there are no codes, and no second stage."""

    def __post_init__(self) -> None:
        """Check the fields against their annotations; raise InputError."""
        check_attributes(self)
        super().__post_init__()

    @property
    def vector_dim(self) -> int:
        """V, the numbers of a code's vector: the channels that the decoder sees."""
        return self.code_dim

    @property
    def initial_vectors(self) -> int:
        """Number of the encoder's vectors that `initialize` wants."""
        return 0

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, if the fields contradict each other."""

    def __call__(self, z: jax.Array, train: bool, progress: Any = 1.0, keys: jax.Array | None = None) -> Quantized:
        """Quantize z (..., D). With `train` the collections follow the batch.

        Args:
          z: of any floating dtype, which z_q has too.
          train: or evaluate; an evaluation draws nothing and changes nothing.
          progress: share of the run that is done, for schedules.
          keys: (B,) PRNG keys, one per row of the first axis of z, for quantizers that draw in training; None: no draw.

        Raises:
          InputError: z is no array of floats with D as its last axis.
        """
        vectors = self.project(self._float32(z))
        quantized = self.quantize(vectors, train, progress, keys)
        return quantized._replace(z_q=self.estimate(vectors, quantized.z_q).astype(z.dtype))

    def _float32(self, z: Any) -> Any:
        """Return vectors (..., D) as float32. Raises InputError for integers and for another last axis."""
        dtype, shape = jax.dtypes.result_type(z), jnp.shape(z)
        if not jnp.issubdtype(dtype, jnp.floating) or shape[-1:] != (self.code_dim,):
            raise InputError(
                f"{type(self).__name__}: expected floats of shape (..., {self.code_dim}), got {dtype}{[*shape]}"
            )
        return z.astype(jnp.float32)

    def project(self, z: jax.Array) -> jax.Array:
        """Map the encoder's vectors (..., D) to those that get codes, (..., V); float32."""
        return z

    def quantize(self, z: jax.Array, train: bool, progress: Any, keys: jax.Array | None) -> Quantized:
        """Quantize projected vectors z (..., V) float32; as `__call__`, but for the gradient that `estimate` adds."""
        raise NotImplementedError

    def estimate(self, z: jax.Array, z_q: jax.Array) -> jax.Array:
        """Return the vectors z_q (..., V) with a gradient to z (..., V).

        By default z_q as it is, for a quantizer whose vectors depend on z smoothly.
        """
        return z_q

    def lookup(self, codes: jax.Array) -> jax.Array:
        """Return the vectors of codes, float32: z_q where `quantize` gives these codes. (...) -> (..., V).

        With a depth above 1: codes (..., d) of the first d levels -> (..., V).
        """
        raise NotImplementedError

    def code_vectors(self) -> jax.Array:
        """Return the vector of each code, (K, V) float32; of several levels, (depth, K, V)."""
        return self.lookup(jnp.arange(self.num_codes))

    def initialize(self, vectors: Any, seed: int) -> None:
        """Start the codebook from vectors (N, D), N >= K, of the encoder. Not traceable."""

    def after_update(self, z: jax.Array, gather: Callable[[jax.Array], jax.Array], key: jax.Array) -> None:
        """Change the codebook after an update, in the same way on every device.

        Args:
          z: (..., D), the vectors of this device's share of the batch.
          gather: an array (n, ...) of this device -> that of the global batch, (N, ...). It is communication: call it
            only where the vectors are needed, in a branch that all devices take together.
          key: the same on every device.
        """
