"""Views of codes: one grid of one level, for each of the codes of a position."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vqjax.codes import CodeLayout, Level


class View(NamedTuple):
    """Codes of one level and depth.

    Attributes:
      name: of its tab.
      suffix: by which `CodeLayout.maps` names it.
      array: name of the level's array in splits.
      level: that it is of.
      number: of the level.
      depth: number of the code among those of a position, from 0.
      named: whether the vectors of codes come by the names of levels.
    """

    name: str
    suffix: str
    array: str
    level: Level
    number: int
    depth: int
    named: bool

    def codes(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the codes (N, h, w) of a split's arrays."""
        return arrays[self.array][..., self.depth] if self.level.depth > 1 else arrays[self.array]

    def vectors(self, vectors: Any) -> Any:
        """Return the vectors (K, V) of its codes, of those of all levels."""
        of_level = vectors[self.level.name] if self.named else vectors
        return of_level[self.depth] if self.level.depth > 1 else of_level


def views_of(layout: CodeLayout) -> list[View]:
    """Return the views of a layout, coarse to fine, first codes first."""
    views: list[View] = []
    for number, (array, level) in enumerate(layout.names.items()):
        for depth in range(level.depth):
            of_depth = [f"code {depth + 1} of {level.depth}"] if level.depth > 1 else []
            name = ", ".join([level.name] * layout.by_name + of_depth) or level.name
            suffix = layout.suffixes[len(views)]
            views.append(View(name, suffix, array, level, number, depth, layout.by_name))
    return views
