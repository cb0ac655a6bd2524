"""The codec with two levels of codes: a coarse grid, and a fine one given the coarse (Razavi et al. 2019)."""

import dataclasses
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.codes import Codes
from vqjax.config.annotations import Natural, Range
from vqjax.config.check import Section, build, check_fields
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.networks.layers import Conv, ConvTranspose
from vqjax.ops.keys import fold_in
from vqjax.quantizers import QUANTIZERS
from vqjax.quantizers.base import Quantizer
from vqjax.system.errors import InputError
from vqjax.tasks.codecs.base import Codec, Coded, innermost_quantizer, over_frames


@dataclasses.dataclass(frozen=True)
class LevelFields:
    """Fields of a level, `config.model.hierarchical.top` or `.bottom`.

    Attributes:
      quantizer: an entry of QUANTIZERS with codes; its other fields are those of its own section.
      num_codes: K; 0: that of the quantizer's own section.
      stages: times that the level's networks halve the grid, the bottom's the image, the top's the bottom's grid.
    """

    quantizer: str
    num_codes: Natural
    stages: Annotated[int, Range(1, 8)]


class Hierarchical(Codec):
    """Two levels after VQ-VAE-2 (Razavi et al. 2019, arXiv 1906.00446, section 3.1 and figure 2).

    The bottom's encoder sees the image, the top's encoder sees its features. The top is quantized first; the bottom's
    vectors are made of the decoded top and the features, and the decoder sees both levels.

    Attributes:
      bottom_encoder, top_encoder: entries of ENCODERS, built.
      top_decoder, decoder: entries of DECODERS, built.
      top, bottom: entries of QUANTIZERS, built.
      code_dim: D, of both levels.
      top_stages: times that the top's networks halve the bottom's grid.
      dtype: of the networks' computation.
      head: an entry of HEADS, built; or None.
    """

    bottom_encoder: nn.Module
    top_encoder: nn.Module
    top_decoder: nn.Module
    decoder: nn.Module
    top: Quantizer
    bottom: Quantizer
    code_dim: int
    top_stages: int
    dtype: Any
    head: nn.Module | None = None

    levels = ("top", "bottom")

    @classmethod
    def from_section(
        cls, section: Section, choice: str, code_dim: int, features: int, dtype: Any, head: Any
    ) -> "Hierarchical":
        own = section.part(choice)
        parts = [own.part(name) for name in cls.levels]
        top, bottom = (LevelFields(**check_fields(LevelFields, part.values, part.key)) for part in parts)
        networks = [(ENCODERS, "encoder", bottom, 2 * code_dim), (ENCODERS, "encoder", top, code_dim)]
        networks += [(DECODERS, "decoder", top, code_dim), (DECODERS, "decoder", bottom, features)]
        built = [
            build(table, _with_stages(section, name, level.stages), name, features=channels, dtype=dtype)
            for table, name, level, channels in networks
        ]
        quantizers = [
            build(QUANTIZERS, _with_quantizer(section, level, part.key), "quantizer", code_dim=code_dim)
            for level, part in zip((top, bottom), parts)
        ]
        for name, quantizer in zip(cls.levels, quantizers):
            if not quantizer.num_codes:
                raise InputError(f"{own.key}.{name}.quantizer: expected a quantizer with codes")
        names = "bottom_encoder", "top_encoder", "top_decoder", "decoder", "top", "bottom"
        modules = dict(zip(names, [*built, *quantizers]))
        return cls(**modules, code_dim=code_dim, top_stages=top.stages, dtype=dtype, head=head)

    @property
    def level_names(self) -> tuple[str, ...]:
        return self.levels

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        return self.top, self.bottom

    @property
    def strides(self) -> tuple[int, ...]:
        stride = self.bottom_encoder.stride
        return stride * 2**self.top_stages, stride

    def setup(self):
        self.join = Conv(self.code_dim, 1, dtype=self.dtype)
        self.upsample = [ConvTranspose(self.code_dim, 4, 2, dtype=self.dtype) for _ in range(self.top_stages)]

    def __call__(self, x: jax.Array, train: bool, progress: Any = 1.0, keys: Any = None) -> Coded:
        """Encode, quantize and decode x (B, H, W, C); see `SingleLevel`."""
        features, z_top = self._encoded(x, train)
        top = self.top(z_top, train, progress, keys)
        z_bottom = self._bottom_vectors(features, top.z_q, train)
        bottom = self.bottom(z_bottom, train, progress, fold_in(keys, 1))
        joined = self._joined(top.z_q, bottom.z_q)
        logits = self.classify(joined, train, keys)
        return Coded(self._decode(joined, train), (z_top, z_bottom), (top, bottom), logits)

    def _encoded(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """The bottom's features (B, h, w, 2 D) and the top's vectors (B, h', w', D)."""
        features = over_frames(lambda frames: self.bottom_encoder(frames, train), x)
        return features, over_frames(lambda frames: self.top_encoder(nn.relu(frames), train), features)

    def _bottom_vectors(self, features: jax.Array, top: jax.Array, train: bool) -> jax.Array:
        """The bottom's vectors (B, h, w, D), of its features and the quantized top (B, h', w', D)."""
        decoded = over_frames(lambda frames: self.top_decoder(frames, train), top)
        return over_frames(self.join, jnp.concatenate([decoded, features], axis=-1))

    def _joined(self, top: jax.Array, bottom: jax.Array) -> jax.Array:
        """Both levels' vectors on the bottom's grid, (B, h, w, 2 D): what the decoder is given."""
        for layer in self.upsample:
            top = over_frames(layer, top)
        return jnp.concatenate([top, bottom.astype(top.dtype)], axis=-1)

    def _decode(self, joined: jax.Array, train: bool) -> jax.Array:
        return over_frames(lambda frames: self.decoder(frames, train), joined)

    def latents(self, x: jax.Array, train: bool = False, level: int = 0) -> jax.Array:
        features, z_top = self._encoded(x, train)
        if level == 0:
            return z_top
        return self._bottom_vectors(features, self.top(z_top, False).z_q, train)

    def encode(self, x: jax.Array) -> Codes:
        features, z_top = self._encoded(x, False)
        top = self.top(z_top, False)
        bottom = self.bottom(self._bottom_vectors(features, top.z_q, False), False)
        return {"top": top.codes, "bottom": bottom.codes}

    def lookup(self, codes: Codes) -> jax.Array:
        top = self.top.lookup(codes["top"])
        if "bottom" in codes:
            return self._joined(top, self.bottom.lookup(codes["bottom"]))
        grid = (side * 2**self.top_stages for side in top.shape[-3:-1])  # a preview: nothing of the bottom
        return self._joined(top, jnp.zeros((*top.shape[:-3], *grid, self.bottom.vector_dim), top.dtype))

    def decode(self, codes: Codes) -> jax.Array:
        return self._decode(self.lookup(codes), False)

    def decode_vectors(self, vectors: Any) -> jax.Array:
        return self._decode(self._joined(vectors["top"], vectors["bottom"]), False)


def _with_stages(section: Section, choice: str, stages: int) -> Section:
    """The model's section in which the chosen network has so many stages. Raises InputError if it has no such field."""
    name = str(section.values.get(choice))
    fields = section.values.get(name)
    if not isinstance(fields, dict) or "stages" not in fields:
        raise InputError(
            f"{section.key}.{choice}={name!r}: the hierarchical codec expects networks with stages, such as deepmind"
        )
    return Section(section.key, {**section.values, name: {**fields, "stages": stages}})


def _with_quantizer(section: Section, level: LevelFields, key: str) -> Section:
    """The model's section in which a level's quantizer is chosen, with the level's number of codes."""
    values = {**section.values, "quantizer": level.quantizer}
    if level.num_codes:
        name = innermost_quantizer(values, level.quantizer)
        fields = values.get(name)
        if not isinstance(fields, dict) or "num_codes" not in fields:
            raise InputError(f"{key}.num_codes={level.num_codes}: expected 0, {name!r} has no such field")
        values[name] = {**fields, "num_codes": level.num_codes}
    return Section(section.key, values)
