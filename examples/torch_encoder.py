"""The encoder and the codebook of an exported tokenizer in plain PyTorch: images to the same codes.

    python -m vqjax export tokenizer --workdir runs/digits --out digits_tokenizer
    python examples/torch_encoder.py digits_tokenizer images.npy codes.npy

For the encoder "deepmind" in float32 without batch norm, and the quantizers "ema" and "vq". Any other model is refused,
and so is a field that this file does not know. It needs torch, numpy and safetensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

# Fields of the encoder that change nothing here: the weights have it in them, or it is of the training.
NO_PART = {"weight_norm", "kernel_init", "remat"}


class Residual(nn.Module):
    """x + a 1 x 1 convolution of a 3 x 3 one, each after a ReLU; with `relu_skip` ReLU(x) + that."""

    def __init__(self, width: int, inside: int, relu_skip: bool):
        super().__init__()
        self.relu_skip = relu_skip
        self.first = nn.Conv2d(width, inside, 3, padding=1, bias=False)
        self.second = nn.Conv2d(inside, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.relu() if self.relu_skip else x) + self.second(self.first(x.relu()).relu())


def deepmind(
    channels: int, code_dim: int, width: int, residual_width: int, blocks: int, stages: int, relu_skip: bool
) -> nn.Sequential:
    """Images (N, C, H, W) in [-1, 1] -> vectors (N, D, h, w)."""
    layers: list[nn.Module] = []
    for stage in range(stages):
        features = width if stage else max(1, width // 2)
        layers += [nn.Conv2d(channels, features, 4, stride=2, padding=1), nn.ReLU()]
        channels = features
    layers.append(nn.Conv2d(channels, width, 3, padding=1))
    layers += [Residual(width, residual_width, relu_skip) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(width, code_dim, 1))


class Tokenizer(nn.Module):
    """Of the directory that `export tokenizer` has written."""

    def __init__(self, directory: str | Path):
        super().__init__()
        directory = Path(directory)
        config = json.loads((directory / "config.json").read_text())
        weights = load_file(directory / "weights.safetensors")
        model = config["model"]
        check(model)
        fields = {name: value for name, value in model["deepmind"].items() if name not in {*NO_PART, "batch_norm"}}
        self.encoder = deepmind(config["image_shape"][-1], model["code_dim"], **fields)
        convolutions = [layer for layer in self.encoder.modules() if isinstance(layer, nn.Conv2d)]
        for i, layer in enumerate(convolutions):  # they are numbered in the order in which they run
            layer.load_state_dict(convolution(weights, f"params/encoder/Conv_{i}"))
        self.register_buffer("codebook", CODEBOOKS[model["quantizer"]](weights))  # (K, D)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W, C) -> codes (N, h, w)."""
        z = self.encoder(images.permute(0, 3, 1, 2).float() / 255 * 2 - 1).permute(0, 2, 3, 1)
        return ((self.codebook**2).sum(1) - 2 * z @ self.codebook.T).argmin(-1)  # the nearest


def check(model: dict) -> None:
    """Raise ValueError for a model, `config.model`, whose codes would not be found here."""
    if model.get("codec", "single") != "single":
        raise ValueError(f"expected one grid of codes, found the codec {model['codec']}")
    if model["encoder"] != "deepmind" or model["dtype"] != "float32" or model["deepmind"]["batch_norm"]:
        raise ValueError("expected the encoder deepmind in float32, without batch norm")
    known = {*NO_PART, "batch_norm", "width", "residual_width", "blocks", "stages", "relu_skip"}
    if unknown := model["deepmind"].keys() - known:
        raise ValueError(f"the encoder has fields that are not known here: {', '.join(sorted(unknown))}")
    if model[model["likelihood"]].get("input_range", "signed") != "signed":
        raise ValueError("expected an encoder that sees pixels in [-1, 1]")
    if model["quantizer"] not in CODEBOOKS:
        raise ValueError(f"expected a quantizer among {', '.join(CODEBOOKS)}, found {model['quantizer']}")
    if model[model["quantizer"]].get("cosine") or model[model["quantizer"]].get("projection"):
        raise ValueError("expected a quantizer with cosine=False and projection=0")


def convolution(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """What a Conv2d loads: its kernel is (out, in, k, k), here it is (k, k, in, out)."""
    kernel = weights[f"{name}/kernel"]
    if f"{name}/scale" in weights:  # weight norm
        kernel = kernel * weights[f"{name}/scale"] / (kernel**2).sum((0, 1, 2)).sqrt()
    bias = {"bias": weights[f"{name}/bias"]} if f"{name}/bias" in weights else {}
    return {"weight": kernel.permute(3, 2, 0, 1), **bias}


CODEBOOKS = {
    "ema": lambda weights: weights["codebook/quantizer/mean"] / weights["codebook/quantizer/frequency"][:, None],
    "vq": lambda weights: weights["params/quantizer/codebook"],
}

if __name__ == "__main__":
    directory, images, codes = map(Path, sys.argv[1:])
    np.save(codes, Tokenizer(directory)(torch.from_numpy(np.load(images))).numpy())
