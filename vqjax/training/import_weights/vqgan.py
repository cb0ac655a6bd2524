"""VQGANs of taming-transformers (Esser et al. 2021) and of LlamaGen (Sun et al. 2024)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from vqjax.training.import_weights.source import OwnImages, uniform_frequency
from vqjax.training.import_weights.state_dict import StateDict
from vqjax.training.import_weights.vqgan_yaml import Architecture, read_yaml


class _Names(NamedTuple):
    """Names that a program gives to the parts of the networks.

    Attributes:
      down: a stage of the encoder, by its number `stage`, 0 next to the image.
      up: a stage of the decoder, by the same number, or by `inner`, 0 next to the codes.
      residual: the residual blocks in a stage.
      middle: the two residual blocks and, between them, the attention block next to the codes.
    """

    down: str
    up: str
    residual: str
    middle: tuple[str, str, str]


_TAMING = _Names("encoder.down.{stage}", "decoder.up.{stage}", "block", ("block_1", "attn_1", "block_2"))
_LLAMAGEN = _Names("encoder.conv_blocks.{stage}", "decoder.conv_blocks.{inner}", "res", ("0", "1", "2"))
# How names begin of tensors that matter in training only: the networks of taming's loss, and LlamaGen's latest codes.
_UNUSED = ("loss.", "quantize.codebook_used")


class VQGAN(OwnImages):
    """A VQGAN with nearest codes, or with codes by Gumbel-softmax, whose sizes are all in the file."""

    def __init__(self, states: Sequence[StateDict], yaml: str = "", size: str = "", data_path: str = ""):
        (self._state,) = states
        self._state.shape("encoder.conv_in.weight", 4)
        self._names = _LLAMAGEN if "encoder.conv_blocks.0.res.0.norm1.weight" in self._state else _TAMING
        self._architecture = self._find_architecture()
        resolution = read_yaml(yaml, self._architecture, self._state.path) if yaml else 256
        super().__init__(size or str(resolution), data_path, 2 ** (len(self._architecture.multipliers) - 1))

    def _find_architecture(self) -> Architecture:
        """Sizes of the networks, by the names and shapes of the tensors."""
        state, names = self._state, self._names
        width, channels = state.shape("encoder.conv_in.weight", 4)[:2]
        residual = f"{names.down}.{names.residual}"
        stages = range(max(1, state.count(names.down.replace("{stage}", "{}") + ".")))
        widths = [state.shape(f"{residual.format(stage=stage)}.0.conv1.weight", 4)[0] for stage in stages]
        gumbel = "quantize.proj.weight" in state
        num_codes, code_dim = state.shape("quantize.embed.weight" if gumbel else "quantize.embedding.weight", 2)
        return Architecture(
            gumbel=gumbel,
            num_codes=num_codes,
            code_dim=code_dim,
            latent_width=state.shape("encoder.conv_out.weight", 4)[0],
            channels=channels,
            width=width,
            multipliers=tuple(stage_width // width for stage_width in widths),
            attention=tuple(i for i in stages if f"{names.down.format(stage=i)}.attn.0.norm.weight" in state),
            blocks=state.count(residual.format(stage=0) + ".{}."),
        )

    def config(self) -> ConfigDict:
        config, sizes, llamagen = self.base_config(), self._architecture, self._names is _LLAMAGEN
        quantizer, likelihood = "gumbel" if sizes.gumbel else "vq", "mse" if llamagen else "l1"
        networks = {"encoder": "vqgan", "decoder": "vqgan", "quantizer": quantizer, "likelihood": likelihood}
        config.model.update({"code_dim": sizes.code_dim, **networks})
        names = ("width", "multipliers", "attention", "blocks", "latent_width")
        config.model.vqgan.update({name: getattr(sizes, name) for name in names})
        config.model.vq.update({"beta": 0.25, "cosine": llamagen, "kmeans": False, "dead_code_threshold": 0.0})
        config.model[quantizer].num_codes = sizes.num_codes
        return config

    def variables(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        for prefix in _UNUSED:
            self._state.drop(prefix)
        params = expected["params"]
        networks = {"encoder": self._encoder(params["encoder"]), "decoder": self._decoder(params["decoder"])}
        return {
            "params": {**networks, "quantizer": self._quantizer(params["quantizer"])},
            "codebook": uniform_frequency(self._architecture.num_codes),
        }

    def _quantizer(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        shape = expected["codebook"].shape
        if not self._architecture.gumbel:
            return {"codebook": self._state.take("quantize.embedding.weight", shape)}
        logits: Mapping[str, Any] = expected["logits"]
        kernel = self._state.take("quantize.proj.weight", (*logits["kernel"].shape[::-1], 1, 1))[:, :, 0, 0].T
        bias = self._state.take("quantize.proj.bias", logits["bias"].shape)
        return {
            "codebook": self._state.take("quantize.embed.weight", shape),
            "logits": {"kernel": kernel, "bias": bias},
        }

    def _encoder(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        names, sizes = self._names, self._architecture
        stages = [names.down.format(stage=stage) for stage in range(len(sizes.multipliers))]
        blocks = [(stage, block) for stage in range(len(stages)) for block in range(sizes.blocks)]
        middle = [f"encoder.mid.{name}" for name in names.middle]
        return self._network(
            expected,
            Conv=["encoder.conv_in", "encoder.conv_out", "quant_conv"],
            DownConv=[f"{stage}.downsample.conv" for stage in stages[:-1]],
            ResidualBlock=[f"{stages[i]}.{names.residual}.{block}" for i, block in blocks] + middle[::2],
            AttentionBlock=[f"{stages[i]}.attn.{block}" for i, block in blocks if i in sizes.attention] + middle[1:2],
            GroupNorm=["encoder.norm_out"],
        )

    def _decoder(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        names, sizes = self._names, self._architecture
        count = len(sizes.multipliers)
        stages = {i: names.up.format(stage=i, inner=count - 1 - i) for i in reversed(range(count))}
        blocks = [(stage, block) for stage in stages for block in range(sizes.blocks + 1)]
        middle = [f"decoder.mid.{name}" for name in names.middle]
        upsample = [f"{stage}.upsample.conv" for i, stage in stages.items() if i]
        return self._network(
            expected,
            Conv=["post_quant_conv", "decoder.conv_in", *upsample, "decoder.conv_out"],
            ResidualBlock=middle[::2] + [f"{stages[i]}.{names.residual}.{block}" for i, block in blocks],
            AttentionBlock=middle[1:2] + [f"{stages[i]}.attn.{block}" for i, block in blocks if i in sizes.attention],
            GroupNorm=["decoder.norm_out"],
        )

    def _network(self, expected: Mapping[str, Any], **layers: Sequence[str]) -> dict[str, Any]:
        """Parameters of a network or block, of the layers of each class in the order in which ours has them."""
        take: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
            "Conv": self._state.take_conv,
            "DownConv": self._state.take_conv,
            "ResidualBlock": self._residual_block,
            "AttentionBlock": self._attention_block,
            "GroupNorm": self._norm,
        }
        return {
            f"{kind}_{i}": take[kind](layer, expected[f"{kind}_{i}"])
            for kind, names in layers.items()
            for i, layer in enumerate(names)
        }

    def _residual_block(self, block: str, expected: Mapping[str, Any]) -> dict[str, Any]:
        convs = ["conv1", "conv2"] + ["nin_shortcut"] * ("Conv_2" in expected)
        return self._parts(block, expected, convs, ["norm1", "norm2"])

    def _attention_block(self, block: str, expected: Mapping[str, Any]) -> dict[str, Any]:
        return self._parts(block, expected, ["q", "k", "v", "proj_out"], ["norm"])

    def _parts(
        self, block: str, expected: Mapping[str, Any], convs: Sequence[str], norms: Sequence[str]
    ) -> dict[str, Any]:
        prefixed = {"Conv": [f"{block}.{name}" for name in convs], "GroupNorm": [f"{block}.{name}" for name in norms]}
        return self._network(expected, **prefixed)

    def _norm(self, layer: str, expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
        names = {"scale": "weight", "bias": "bias"}
        return {ours: self._state.take(f"{layer}.{name}", expected[ours].shape) for ours, name in names.items()}
