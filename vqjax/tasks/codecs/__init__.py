"""Codecs: encoders, quantizers and a decoder put together."""

from vqjax.tasks.codecs.base import Codec, Coded, named_metrics, over_frames, total_loss
from vqjax.tasks.codecs.hierarchical import Hierarchical
from vqjax.tasks.codecs.single import SingleLevel

__all__ = ["CODECS", "Coded", "Codec", "Hierarchical", "SingleLevel", "named_metrics", "over_frames", "total_loss"]

CODECS: dict[str, type[Codec]] = {"single": SingleLevel, "hierarchical": Hierarchical}
