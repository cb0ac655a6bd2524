"""The codec with one grid of codes."""

from typing import Any

import flax.linen as nn
import jax

from vqjax.codes import Codes
from vqjax.config.check import Section, build
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.quantizers import QUANTIZERS
from vqjax.quantizers.base import Quantizer
from vqjax.system.errors import InputError
from vqjax.tasks.codecs.base import Codec, Coded, over_frames


class SingleLevel(Codec):
    """One grid of codes: encoder, quantizer, decoder.

    Attributes:
      encoder: an entry of ENCODERS, built.
      quantizer: an entry of QUANTIZERS, built.
      decoder: an entry of DECODERS, built.
      head: an entry of HEADS, built; or None.
    """

    encoder: nn.Module
    quantizer: Quantizer
    decoder: nn.Module
    head: nn.Module | None = None

    @classmethod
    def from_section(
        cls, section: Section, choice: str, code_dim: int, features: int, dtype: Any, head: Any
    ) -> "SingleLevel":
        encoder = build(ENCODERS, section, "encoder", features=code_dim, dtype=dtype)
        decoder = build(DECODERS, section, "decoder", features=features, dtype=dtype)
        quantizer = build(QUANTIZERS, section, "quantizer", code_dim=code_dim)
        if encoder.stride != decoder.stride:
            raise InputError(f"{section.key}.encoder has stride {encoder.stride}, the decoder {decoder.stride}")
        return cls(encoder, quantizer, decoder, head)

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        return (self.quantizer,)

    @property
    def strides(self) -> tuple[int, ...]:
        return (self.encoder.stride,)

    def __call__(self, x: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Coded:
        """Encode, quantize and decode x (B, H, W, C); with `train` the mutable collections follow the batch.

        Args:
          x: as the likelihood's `inputs` gives it.
          train: or evaluate.
          progress: share of the run that is done, for schedules.
          keys: (B,), one per example, for quantizers that draw.
        """
        z = self.latents(x, train)
        quantized = self.quantizer(z, train, progress, keys)
        logits = self.classify(quantized.z_q, train, keys)
        return Coded(self._decode(quantized.z_q, train), (z,), (quantized,), logits)

    def _decode(self, z_q: jax.Array, train: bool) -> jax.Array:
        return over_frames(lambda frames: self.decoder(frames, train), z_q)

    def latents(self, x: jax.Array, train: bool = False, level: int = 0) -> jax.Array:
        return over_frames(lambda frames: self.encoder(frames, train), x)

    def encode(self, x: jax.Array) -> Codes | None:
        return self.quantizer(self.latents(x), False).codes

    def lookup(self, codes: Codes) -> jax.Array:
        return self.quantizer.lookup(codes)

    def decode(self, codes: Codes) -> jax.Array:
        return self.decode_vectors(self.lookup(codes))

    def decode_vectors(self, vectors: jax.Array) -> jax.Array:
        return self._decode(vectors, False)
