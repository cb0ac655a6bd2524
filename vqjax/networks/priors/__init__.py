"""Priors: distributions over codes."""

from vqjax.networks.priors.base import Prior
from vqjax.networks.priors.pixelcnn import PixelCNN
from vqjax.networks.priors.transformer import Transformer

__all__ = ["PRIORS", "PixelCNN", "Prior", "Transformer"]

PRIORS: dict[str, type[Prior]] = {"pixelcnn": PixelCNN, "transformer": Transformer}
