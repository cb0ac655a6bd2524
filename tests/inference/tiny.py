"""Tiny configs of every kind of run, and layouts of codes that no entry of the tables has."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from configs import code_classifier, prior
from vqjax.config.check import build
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.networks.priors import Prior
from vqjax.quantizers import QUANTIZERS, Quantized, Quantizer
from vqjax.tasks.codecs import Codec, Coded, over_frames

SHORT = {"steps": 4, "batch_size": 16, "log_every": 2, "eval_every": 4, "save_every": 4}


def short(config, **fields):
    """A config of four steps, with some of its fields."""
    config.update({**SHORT, **fields})
    config.optimizer.update(warmup=2, warmup_share=0.0)
    return config


def small_prior(stage1, **fields):
    """A tiny prior on a stage 1."""
    config = short(prior.get_config(), stage1=str(stage1))
    config.model.pixelcnn.update({"width": 8, "layers": 2, "head_width": 16})
    config.model.transformer.update({"width": 16, "layers": 2, "heads": 2})
    config.model.update(fields)
    return config


def small_code_classifier(stage1):
    """A tiny classifier on a stage 1."""
    config = short(code_classifier.get_config("digits"), stage1=str(stage1))
    config.model.conv.update({"width": 4, "layers": 2})
    return config


def vectors_in(codebook, codes):
    """The vectors (..., V) of codes; of several per position their sum."""
    if codebook.ndim == 2:
        return codebook[codes]
    return sum(vectors[codes[..., level]] for level, vectors in enumerate(codebook))


class TwoLevels(Codec):
    """Codes on two grids: on that of the encoder, and on the means of 2 x 2 of its positions."""

    encoder: nn.Module
    decoder: nn.Module
    coarse: Quantizer
    fine: Quantizer
    head: nn.Module | None = None

    level_names = ("coarse", "fine")

    @classmethod
    def from_section(cls, section, choice, code_dim, features, dtype, head):
        encoder = build(ENCODERS, section, "encoder", features=code_dim, dtype=dtype)
        decoder = build(DECODERS, section, "decoder", features=features, dtype=dtype)
        quantizers = [build(QUANTIZERS, section, "quantizer", code_dim=code_dim) for _ in range(2)]
        return cls(encoder, decoder, *quantizers, head)

    @property
    def quantizers(self):
        return self.coarse, self.fine

    @property
    def strides(self):
        return 2 * self.encoder.stride, self.encoder.stride

    def _vectors(self, x, train):
        fine = over_frames(lambda frames: self.encoder(frames, train), x)
        return nn.avg_pool(fine, (2, 2), (2, 2)), fine

    def latents(self, x, train=False, level=0):
        return self._vectors(x, train)[level]

    def __call__(self, x, train, progress=1.0, keys=None):
        vectors = self._vectors(x, train)
        quantized = [quantizer(z, train, progress, keys) for quantizer, z in zip(self.quantizers, vectors)]
        z_q = {name: level.z_q for name, level in zip(self.level_names, quantized)}
        return Coded(self._decode(z_q, train), vectors, tuple(quantized))

    def encode(self, x):
        vectors = zip(self.level_names, self.quantizers, self._vectors(x, False))
        return {name: quantizer(z, False).codes for name, quantizer, z in vectors}

    def lookup(self, codes):
        return {name: quantizer.lookup(codes[name]) for name, quantizer in zip(self.level_names, self.quantizers)}

    def decode(self, codes):
        return self.decode_vectors(self.lookup(codes))

    def decode_vectors(self, vectors):
        return self._decode(vectors, False)

    def _decode(self, vectors, train):
        coarse = vectors["coarse"].repeat(2, -3).repeat(2, -2)
        return over_frames(lambda frames: self.decoder(frames, train), coarse + vectors["fine"])


class Signs(Quantizer):
    """Two codes per position: the signs of the first two numbers, and of the next three."""

    depth = 2
    num_codes = 8

    def __call__(self, z, train, progress=1.0, keys=None):
        bits = (z[..., :5] > 0).astype(jnp.int32)
        codes = jnp.stack([bits[..., :2] @ jnp.array([1, 2]), bits[..., 2:] @ jnp.array([1, 2, 4])], axis=-1)
        z_q = z + jax.lax.stop_gradient(self.lookup(codes).astype(z.dtype) - z)
        frequency = jnp.stack([jnp.bincount(codes[..., d].reshape(-1), length=8) / codes[..., d].size for d in (0, 1)])
        return Quantized(z_q, codes, jnp.zeros(()), {"code_frequency": frequency})

    def lookup(self, codes):
        first, second = codes[..., :1] >> jnp.arange(2) & 1, codes[..., 1:] >> jnp.arange(3) & 1
        signs = 2 * jnp.concatenate([first, second], -1).astype(jnp.float32) - 1
        return jnp.concatenate([signs, jnp.zeros((*signs.shape[:-1], self.code_dim - 5))], -1)

    def code_vectors(self):
        both, places = self.lookup(jnp.arange(8).repeat(2).reshape(8, 2)), jnp.arange(self.code_dim)
        return jnp.stack([jnp.where(places < 2, both, 0), jnp.where(places < 2, 0, both)])


class Places(Prior):
    """The frequency of the codes at each place, given the class: for a layout of any levels."""

    @nn.compact
    def __call__(self, codes, labels, keys=None, order=None, groups=None):
        classes, num_codes = max(1, self.num_classes), self.layout.max_codes
        table = self.param("table", nn.initializers.normal(1.0), (classes, self.layout.length, num_codes))
        possible = jnp.arange(num_codes) < jnp.asarray(self.layout.num_codes)[:, None]
        return jnp.where(possible, table[labels], -jnp.inf)


@dataclasses.dataclass
class Kind:
    """A layout that no entry of the tables has: what a config sets for it, and what it is on digits."""

    model: dict[str, Any]
    layout: str
    shapes: dict[str, tuple[int, ...]]


LAYOUTS = {
    "levels": Kind(
        {"codec": "two"},
        "coarse 2 x 2 codes of 16, fine 4 x 4 codes of 16",
        {"codes_coarse": (2, 2), "codes_fine": (4, 4)},
    ),
    "depth": Kind({"quantizer": "signs"}, "4 x 4 x 2 codes of 8", {"codes": (4, 4, 2)}),
}
