"""The autoencoders of vqjax/networks/encoders.py in PyTorch, layer for layer, as the thing to measure against."""

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
    """A codebook of running means over positions, in float32 whatever the networks compute in."""

    def __init__(self, num_codes: int, code_dim: int, beta: float, decay: float):
        super().__init__()
        self.num_codes, self.beta, self.decay = num_codes, beta, decay
        self.register_buffer("frequency", torch.full((num_codes,), 1 / num_codes))
        self.register_buffer("mean", torch.randn(num_codes, code_dim) / num_codes)

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """z (B, D, h, w) -> straight-through z_q and the weighted commitment loss."""
        z = z.float()
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
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


class Gumbel(nn.Module):
    """Codes by relaxed Gumbel-softmax samples."""

    def __init__(self, num_codes: int, code_dim: int):
        super().__init__()
        self.logits = nn.Conv2d(code_dim, num_codes, 1)
        self.embedding = nn.Parameter(torch.randn(num_codes, code_dim) / num_codes)

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """z (B, D, h, w) -> z_q and the divergence from the uniform prior."""
        logits = self.logits(z)
        y = F.gumbel_softmax(logits, tau=1.0, dim=1)
        p = logits.softmax(1)
        divergence = (p * (p * logits.shape[1] + 1e-10).log()).sum(1).mean()
        return torch.einsum("bkhw,kd->bdhw", y, self.embedding), 1e-3 * divergence


class DeepMind(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to the decoder's output and the quantizer's loss: stride 4, two blocks."""

    def __init__(self, channels: int, width: int, residual_width: int, code_dim: int, num_codes: int, beta: float):
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
        self.quantizer = EMA(num_codes, code_dim, beta, 0.99)
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
        """x -> (output, loss)."""
        z_q, loss = self.quantizer(self.encoder(x))
        return self.decoder(z_q), loss


class Bottleneck(nn.Module):
    """ReLU and convolution four times, of these kernel sizes, on the way around it a 1 x 1 where the width changes."""

    def __init__(self, before: int, width: int, kernel_sizes: tuple[int, ...], gain: float):
        super().__init__()
        widths = [before, *3 * (width // 4,), width]
        layers = [
            layer
            for k, a, b in zip(kernel_sizes, widths, widths[1:])
            for layer in (nn.ReLU(), nn.Conv2d(a, b, k, padding=k // 2))
        ]
        self.inside, self.gain = nn.Sequential(*layers), gain
        self.around = nn.Conv2d(before, width, 1) if before != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, before, H, W) -> (B, width, H, W)."""
        return self.around(x) + self.gain * self.inside(x)


class OpenAI(nn.Module):
    """Images (B, C, H, W) in [-1, 1] to the parameters of a logit-Laplace and the quantizer's loss."""

    def __init__(self, channels: int, width: int, groups: int, code_dim: int, num_codes: int):
        super().__init__()
        gain, encoder, decoder, x = 1 / groups**2, [nn.Conv2d(channels, width, 7, padding=3)], [], width
        for group in range(groups):
            encoder += [nn.MaxPool2d(2)] * bool(group) + [Bottleneck(x, x := width * 2**group, (3, 3, 3, 1), gain)]
        self.encoder = nn.Sequential(*encoder, nn.ReLU(), nn.Conv2d(x, code_dim, 1))
        self.quantizer, x = Gumbel(num_codes, code_dim), code_dim
        for group in reversed(range(groups)):
            decoder += [Bottleneck(x, x := width * 2**group, (1, 3, 3, 3), gain)]
            decoder += [nn.Upsample(scale_factor=2)] * bool(group)
        self.decoder = nn.Sequential(*decoder, nn.ReLU(), nn.Conv2d(x, 2 * channels, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x -> (output, loss)."""
        z_q, loss = self.quantizer(self.encoder(x))
        return self.decoder(z_q), loss
