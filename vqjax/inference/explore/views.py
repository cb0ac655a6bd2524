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
      layout: that it is of.
      number: of the level.
      depth: number of the code among those of a position, from 0.
    """

    name: str
    suffix: str
    layout: CodeLayout
    number: int
    depth: int

    @property
    def level(self) -> Level:
        """Level that it is of."""
        return self.layout.levels[self.number]

    def codes(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the codes (N, h, w) of a split's arrays."""
        grids: dict[str, np.ndarray] = self.layout.maps(self.layout.flatten(self.layout.join(arrays)))
        return grids[self.suffix]

    def vectors(self, vectors: Any) -> Any:
        """Return the vectors (K, V) of its codes, of those of all levels."""
        of_level = vectors[self.level.name] if self.layout.by_name else vectors
        return of_level[self.depth] if self.level.depth > 1 else of_level


def views_of(layout: CodeLayout) -> list[View]:
    """Return the views of a layout, coarse to fine, first codes first."""
    places = [(number, depth) for number, level in enumerate(layout.levels) for depth in range(level.depth)]
    views = []
    for (number, depth), suffix in zip(places, layout.suffixes):
        level = layout.levels[number]
        of_depth = [f"code {depth + 1} of {level.depth}"] if level.depth > 1 else []
        name = ", ".join([level.name] * layout.by_name + of_depth) or level.name
        views.append(View(name, suffix, layout, number, depth))
    return views
