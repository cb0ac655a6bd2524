"""VQ-VAE-Images (github.com/swasun/VQ-VAE-Images), trained on CIFAR-10."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.config import loading
from vqjax.config.schema import Data
from vqjax.training.import_weights.source import OwnImages, uniform_frequency
from vqjax.training.import_weights.state_dict import StateDict

FACTS = {  # as `datasets.dataset_facts` has them of CIFAR-10
    "dataset": "cifar10",
    "image_shape": (32, 32, 3),
    "class_names": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "sizes": {"train": 50_000, "test": 10_000},
}


class VQVAEImages(OwnImages):
    """A model with EMA or without, weight-normed or not.

    A residual block adds to relu(x), and the blocks of a stack are one block, of which the file has a copy for each.
    The run is for CIFAR-10, unless a size or a folder is named.
    """

    def __init__(self, states: Sequence[StateDict], size: str = "", data_path: str = ""):
        super().__init__(size or "32", data_path, stride=4)
        self._own_images = bool(size or data_path)
        (state,) = states
        self._state = state
        self._blocks = state.count("_encoder._residual_stack._layers.{}.")
        self._quantizer = "ema" if "_vq_vae._ema_w" in state else "vq"

    def facts(self, data: Data) -> Mapping[str, Any]:
        return super().facts(data) if self._own_images else FACTS

    def config(self) -> ConfigDict:
        """The config, with what the file does not tell as in the published runs."""
        config = self.base_config() if self._own_images else loading.load_config(*loading.find_config("autoencoder"))
        num_codes, code_dim = self._state.shape("_vq_vae._embedding.weight", 2)
        config.model.update({"code_dim": code_dim, "quantizer": self._quantizer})
        for name in ("ema", "vq"):
            config.model[name].update(
                {"num_codes": num_codes, "beta": 0.25, "kmeans": False, "dead_code_threshold": 0.0}
            )
        sizes = {"width": self._channels("_encoder._conv_3"), "blocks": self._blocks, "relu_skip": True}
        if self._blocks:
            sizes["residual_width"] = self._channels("_encoder._residual_stack._layers.0._block.1")
        config.model.deepmind.update(sizes)
        config.optimizer.codebook_rate = 1.0
        return config

    def variables(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        params = expected["params"]
        encoder = [f"_encoder._conv_{i}" for i in (1, 2, 3)] + self._residual("_encoder") + ["_pre_vq_conv"]
        decoder = ["_decoder._conv_1"] + self._residual("_decoder")
        transposed = ["_decoder._conv_trans_1", "_decoder._conv_trans_2"]
        if "_encoder._conv3.bias" in self._state:  # the third layer again, under another name
            self._layer("_encoder._conv3", params["encoder"]["Conv_2"], (3, 2, 0, 1))
        networks = {
            "encoder": self._layers(encoder, params["encoder"], "Conv", (3, 2, 0, 1)),
            "decoder": self._layers(decoder, params["decoder"], "Conv", (3, 2, 0, 1))
            | self._layers(transposed, params["decoder"], "ConvTranspose", (2, 3, 0, 1)),
        }
        num_codes, code_dim = self._state.shape("_vq_vae._embedding.weight", 2)
        codebook = self._state.take("_vq_vae._embedding.weight", (num_codes, code_dim))
        if self._quantizer == "vq":
            learned = {"quantizer": {"codebook": codebook}}
            return {"params": networks | learned, "codebook": uniform_frequency(num_codes)}
        self._state.take("_vq_vae._ema_w", codebook.shape)
        frequency = _powers_of_two(self._state.take("_vq_vae._ema_cluster_size", (num_codes,)))
        means = {"frequency": frequency, "mean": codebook * frequency[:, None]}
        return {"params": networks, "codebook": {"quantizer": means}}

    def _residual(self, network: str) -> list[str]:
        stack = f"{network}._residual_stack._layers"
        return [f"{stack}.{i}._block.{layer}" for i in range(self._blocks) for layer in (1, 3)]

    def _channels(self, layer: str) -> int:
        """Number of channels that come out of a convolution."""
        return self._state.shape(f"{layer}.weight_v" if f"{layer}.weight_v" in self._state else f"{layer}.weight", 4)[0]

    def _layers(
        self, layers: list[str], expected: Mapping[str, Any], kind: str, order: tuple[int, ...]
    ) -> dict[str, Any]:
        ours = [f"{kind}_{i}" for i in range(len(layers))]
        return {name: self._layer(layer, expected[name], order) for name, layer in zip(ours, layers)}

    def _layer(self, layer: str, expected: Mapping[str, Any], order: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Our parameters of a layer of theirs, whose axes have the `order` in ours; weight norm is folded in."""
        if f"{layer}.weight_v" in self._state:
            shape = tuple(expected["kernel"].shape[axis] for axis in order)
            v = self._state.take(f"{layer}.weight_v", shape)
            g = self._state.take(f"{layer}.weight_g", (shape[0], 1, 1, 1))
            kernel = (v * (g / np.sqrt(np.sum(v**2, axis=(1, 2, 3), keepdims=True)))).transpose(np.argsort(order))
        else:
            kernel = self._state.take_kernel(f"{layer}.weight", expected["kernel"], order)
        parameters = {"kernel": kernel}
        if "bias" in expected:
            parameters["bias"] = self._state.take(f"{layer}.bias", expected["bias"].shape)
        return parameters


def _powers_of_two(counts: np.ndarray) -> np.ndarray:
    """Frequencies of codes by their counts (K,), rounded to powers of two: a product by one divides exactly."""
    share = counts / max(counts.sum(), 1e-30)
    return np.exp2(np.round(np.log2(np.maximum(share, 2.0**-26)))).astype(np.float32)
