"""Priors: distributions over codes."""

from vqjax.networks.priors.base import Prior
from vqjax.networks.priors.pixelcnn import PixelCNN

__all__ = ["PRIORS", "PixelCNN", "Prior"]

PRIORS: dict[str, type[Prior]] = {"pixelcnn": PixelCNN}
