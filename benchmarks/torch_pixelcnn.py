"""The gated PixelCNN of vqjax.networks.priors in PyTorch, layer for layer, sampled in pytorch-vqvae's way."""

import torch
import torch.nn.functional as F
from torch import nn


def gate(x: torch.Tensor) -> torch.Tensor:
    """tanh(a) sigmoid(b) of the two halves of the channels."""
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class Layer(nn.Module):
    """The vertical and the horizontal stack; the masks are zeros in the kernels' last row and column."""

    def __init__(self, width: int, first: bool, num_classes: int):
        super().__init__()
        kernel = 7 if first else 3
        self.first, self.reach = first, kernel // 2
        self.above = nn.Conv2d(width, 2 * width, (self.reach + 1, kernel))
        self.left = nn.Conv2d(width, 2 * width, (1, self.reach + 1))
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.residual = nn.Conv2d(width, width, 1)
        self.classes = nn.Embedding(num_classes, 2 * width)

    def forward(self, v: torch.Tensor, h: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """v and h (B, F, h, w) -> the same."""
        above, left, r = self.above.weight, self.left.weight, self.reach
        if self.first:
            above, left = above.clone(), left.clone()
            above[:, :, -1] = 0
            left[:, :, :, -1] = 0
        condition = self.classes(labels)[:, :, None, None]
        x = F.conv2d(F.pad(v, (r, r, r, 0)), above, self.above.bias)
        y = gate(F.conv2d(F.pad(h, (r, 0)), left, self.left.bias) + self.across(x) + condition)
        y = self.residual(y)
        return gate(x + condition), y if self.first else h + y


class PixelCNN(nn.Module):
    """Codes (B, h, w) and labels (B,) to logits (B, K, h, w)."""

    def __init__(self, num_codes: int, num_classes: int, width: int, layers: int, head: int):
        super().__init__()
        self.embedding = nn.Embedding(num_codes, width)
        self.layers = nn.ModuleList(Layer(width, i == 0, num_classes) for i in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(width, head, 1), nn.ReLU(), nn.Conv2d(head, num_codes, 1))

    def forward(self, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The whole network."""
        v = h = self.embedding(codes).permute(0, 3, 1, 2)
        for layer in self.layers:
            v, h = layer(v, h, labels)
        return self.head(h)

    @torch.no_grad()
    def sample(self, labels: torch.Tensor, grid: tuple[int, int], passes: int | None = None) -> torch.Tensor:
        """Codes (B, h, w), the whole network once for each; with `passes`, only so many of them, the others 0."""
        codes = torch.zeros((len(labels), *grid), dtype=torch.long)
        positions = [(i, j) for i in range(grid[0]) for j in range(grid[1])]
        for i, j in positions[:passes]:
            p = self(codes, labels)[:, :, i, j].softmax(dim=1)
            codes[:, i, j] = p.multinomial(1)[:, 0]
        return codes
