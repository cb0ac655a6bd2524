"""DALL-E's discrete VAE (Ramesh et al. 2021; github.com/openai/DALL-E)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.system.errors import InputError
from vqjax.training.import_weights.source import OwnImages, uniform_frequency
from vqjax.training.import_weights.state_dict import StateDict

_GROUPS = 4


class DallE(OwnImages):
    """The encoder, whose outputs are the codes' logits, and the decoder, whose first layer is the codebook."""

    files = ("the encoder", "the decoder")

    def __init__(self, states: Sequence[StateDict], size: str = "256", data_path: str = ""):
        super().__init__(size, data_path, stride=2 ** (_GROUPS - 1))
        self._encoder, self._decoder = states
        for state, kernel_size, kind in ((self._encoder, 7, "encoder"), (self._decoder, 1, "decoder")):
            shape = state.shape("blocks.input.w", 4)
            if shape[2:] != (kernel_size, kernel_size):
                found = f"blocks.input.w has shape {shape}, expected {kernel_size} x {kernel_size} kernels"
                raise InputError(f"{state.path}: expected DALL-E's {kind}, {found}")

    def config(self) -> ConfigDict:
        config = self.base_config()
        num_codes = self._encoder.shape("blocks.output.conv.w", 4)[0]
        embedding_dim, width = (state.shape("blocks.input.w", 4)[0] for state in (self._decoder, self._encoder))
        networks = {"encoder": "openai", "decoder": "openai", "quantizer": "gumbel", "likelihood": "logit_laplace"}
        config.model.update({"code_dim": num_codes, **networks})
        blocks = self._encoder.count("blocks.group_1.block_{}.", first=1)
        config.model.openai.update({"width": width, "groups": _GROUPS, "blocks": blocks})
        codes = {"num_codes": num_codes, "from_logits": True, "embedding_dim": embedding_dim, "hard": False}
        config.model.gumbel.update(codes)
        config.model.logit_laplace.update({"epsilon": 0.1, "input_range": "mapped"})
        return config

    def variables(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        params = expected["params"]
        encoder = ["blocks.input", *_blocks(self._encoder), "blocks.output.conv"]
        decoder = [*_blocks(self._decoder), "blocks.output.conv"]
        num_codes, embedding_dim = params["quantizer"]["codebook"].shape
        # A one-hot code through the decoder's 1 x 1 convolution is a column of its kernel, plus the bias.
        kernel = self._decoder.take("blocks.input.w", (embedding_dim, num_codes, 1, 1))[:, :, 0, 0]
        codebook: np.ndarray = kernel.T + self._decoder.take("blocks.input.b", (embedding_dim,))
        networks = {
            "encoder": _layers(self._encoder, encoder, params["encoder"]),
            "decoder": _layers(self._decoder, decoder, params["decoder"]),
        }
        return {"params": networks | {"quantizer": {"codebook": codebook}}, "codebook": uniform_frequency(num_codes)}


def _blocks(state: StateDict) -> list[str]:
    """Layers of the blocks in the order of ours: those of the residual path, then that of the identity's, if any."""
    layers = []
    for group in range(1, _GROUPS + 1):
        for number in range(1, state.count(f"blocks.group_{group}.block_{{}}.", first=1) + 1):
            block = f"blocks.group_{group}.block_{number}"
            path = [f"{block}.res_path.conv_{i}" for i in (1, 2, 3, 4)]
            widens = state.shape(f"{path[0]}.w", 4)[1] != state.shape(f"{path[-1]}.w", 4)[0]
            layers += [*path, f"{block}.id_path"] if widens else path
    return layers


def _layers(state: StateDict, layers: Sequence[str], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Our parameters of a network's layers; those that the file has too few or too many are found by their names."""
    ours = [f"Conv_{i}" for i in range(len(expected))]
    return {name: state.take_conv(layer, expected[name], ("w", "b")) for name, layer in zip(ours, layers)}
