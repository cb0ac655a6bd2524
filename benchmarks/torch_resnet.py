"""The ResNet-18 of vqjax/networks/backbones.py in PyTorch, layer for layer, with one EMA code for each image."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_autoencoders import EMA


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a 1 x 1 on the way around them where the shape changes."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width))
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        changed = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.around = changed if stride > 1 or before != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, H, W) -> (B, width, ceil(H / stride), ceil(W / stride))."""
        return F.relu(self.around(x) + self.second(F.relu(self.first(x))))


class ResNet18(nn.Module):
    """Images (B, C, H, W) to logits and the quantizer's loss."""

    def __init__(self, channels: int, width: int, num_codes: int, classes: int):
        super().__init__()
        layers = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
        for stage in range(4):
            for stride in (2 if stage else 1, 1):
                layers.append(Block(before, before := width * 2**stage, stride))
        self.backbone = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(before, affine=False)
        self.quantizer = EMA(num_codes, before, 1.0, 0.99)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(before, classes))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x -> (logits (B, classes), loss)."""
        z_q, loss = self.quantizer(self.norm(self.backbone(x).mean((2, 3), keepdim=True)))
        return self.head(z_q.flatten(1)), loss
