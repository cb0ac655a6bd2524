"""Codes, for every room above: levels, layouts, and the sequence that models of the codes see."""

from vqjax.codes.layout import CodeLayout, Codes, Level, require_single, single_level

__all__ = ["CodeLayout", "Codes", "Level", "require_single", "single_level"]
