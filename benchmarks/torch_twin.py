"""The autoencoder of configs/cifar10_ema.py in PyTorch, layer for layer, as the thing to measure against."""

import torch
import torch.nn.functional as F
from torch import nn


class ResidualBlock(nn.Module):
    """ReLU, 3 x 3, ReLU, 1 x 1, without biases."""

    def __init__(self, width: int, residual_width: int):
        super().__init__()
        self.spatial = nn.Conv2d(width, residual_width, 3, padding=1, bias=False)
        self.pointwise = nn.Conv2d(residual_width, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, width, H, W) -> the same."""
        return x + self.pointwise(F.relu(self.spatial(F.relu(x))))


class EMA(nn.Module):
    """A codebook of running means over positions."""

    def __init__(self, num_codes: int, code_dim: int, beta: float, decay: float):
        super().__init__()
        self.num_codes, self.beta, self.decay = num_codes, beta, decay
        self.register_buffer("frequency", torch.full((num_codes,), 1 / num_codes))
        self.register_buffer("mean", torch.randn(num_codes, code_dim) / num_codes)

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """z (B, D, h, w) -> straight-through z_q and the weighted commitment loss."""
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        with torch.no_grad():
            codebook = self.mean / self.frequency[:, None]
            codes = ((codebook**2).sum(1) - 2 * flat @ codebook.T).argmin(1)
            one_hot = F.one_hot(codes, self.num_codes).to(flat.dtype)
            if self.training:
                self.frequency.lerp_(one_hot.mean(0), 1 - self.decay)
                self.mean.lerp_(one_hot.T @ flat / len(flat), 1 - self.decay)
            e = codebook[codes]
        loss = self.beta * F.mse_loss(flat, e)
        e = e.reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        return z + (e - z).detach(), loss


class Autoencoder(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to their reconstructions and the quantizer's loss."""

    def __init__(self, channels: int = 3, width: int = 128, residual_width: int = 32, code_dim: int = 64):
        super().__init__()
        half = width // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, half, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(half, width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            ResidualBlock(width, residual_width),
            ResidualBlock(width, residual_width),
            nn.ReLU(),
            nn.Conv2d(width, code_dim, 1),
        )
        self.quantizer = EMA(512, code_dim, 0.25, 0.99)
        self.decoder = nn.Sequential(
            nn.Conv2d(code_dim, width, 3, 1, 1),
            ResidualBlock(width, residual_width),
            ResidualBlock(width, residual_width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, half, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(half, channels, 4, 2, 1),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x -> (reconstruction, loss)."""
        z_q, loss = self.quantizer(self.encoder(x))
        return self.decoder(z_q), loss
