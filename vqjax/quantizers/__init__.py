"""Vector quantizers: vectors to one of K codes and back."""

from vqjax.quantizers.base import Quantized, Quantizer
from vqjax.quantizers.ema import EMA
from vqjax.quantizers.estimators import ESTIMATORS
from vqjax.quantizers.fsq import FSQ
from vqjax.quantizers.gaussian import Gaussian
from vqjax.quantizers.gumbel import Gumbel
from vqjax.quantizers.none import Identity
from vqjax.quantizers.residual import Residual
from vqjax.quantizers.simvq import SimVQ
from vqjax.quantizers.vq import VQ

__all__ = [
    "EMA",
    "ESTIMATORS",
    "FSQ",
    "QUANTIZERS",
    "VQ",
    "Gaussian",
    "Gumbel",
    "Identity",
    "Quantized",
    "Quantizer",
    "Residual",
    "SimVQ",
]

QUANTIZERS: dict[str, type[Quantizer]] = {
    "none": Identity,
    "vq": VQ,
    "ema": EMA,
    "simvq": SimVQ,
    "gumbel": Gumbel,
    "fsq": FSQ,
    "residual": Residual,
    "gaussian": Gaussian,
}
