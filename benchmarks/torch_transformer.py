"""The transformer of vqjax.networks.priors in PyTorch, layer for layer, in raster order on one grid."""

import torch
import torch.nn.functional as F
from torch import nn

_UNLABELED = 0.1


def norm(x: torch.Tensor) -> torch.Tensor:
    """x over its root mean square."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (B, H, N, D) turned by the angles of its places (N, D / 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Block(nn.Module):
    """Attention and an MLP, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rotation: tuple) -> torch.Tensor:
        """x (B, N, F), k and v (B, H, N, D)."""
        q = rotate(norm(self.query(norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)), *rotation)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.down(F.relu(self.up(norm(x))).square()))


class Transformer(nn.Module):
    """Codes (B, h, w) and labels (B,) to logits (B, K, h, w)."""

    def __init__(
        self,
        grid: tuple[int, int],
        num_codes: int,
        num_classes: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        self.heads, self.num_classes = heads, num_classes
        self.embedding = nn.Embedding(num_codes, width)
        self.classes = nn.Embedding(num_classes + 1, width)
        self.places = nn.Embedding(grid[0] * grid[1], width)
        half = layers // 2
        self.memories = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(half + 1))
        self.readers = nn.ModuleList(Block(width, heads, dropout) for _ in range(half))
        self.predictors = nn.ModuleList(Block(width, heads, dropout) for _ in range(half))
        self.head = nn.Linear(width, num_codes, bias=False)
        rows, columns = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
        speeds = torch.logspace(0, -2, width // heads // 4)
        angles = (torch.stack([rows, columns], -1).reshape(-1, 2, 1) * speeds).flatten(1)
        angles = torch.cat([torch.zeros_like(angles[:1]), angles])
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def memory(self, project: nn.Module, x: torch.Tensor, rotation: tuple) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of x (B, N, F), (B, H, N, D) each."""
        k, v = project(norm(x)).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, dim=1)
        return rotate(norm(k), *rotation), v

    def forward(self, codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The whole network."""
        if self.training:
            labels = torch.where(torch.rand(len(labels)) < _UNLABELED, self.num_classes, labels)
        token, places = self.classes(labels)[:, None], self.places.weight
        x = torch.cat([token, self.embedding(codes.flatten(1)[:, :-1]) + places[:-1]], dim=1)
        read, ask = (self.cos[:-1], self.sin[:-1]), (self.cos[1:], self.sin[1:])  # the class token comes first
        for project, block in zip(self.memories, self.readers):
            x = block(x, *self.memory(project, x, read), read)
        k, v = self.memory(self.memories[-1], x, read)
        y = places + token
        for block in self.predictors:
            y = block(y, k, v, ask)
        return self.head(norm(y)).transpose(1, 2).unflatten(-1, codes.shape[1:])
