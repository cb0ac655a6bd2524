"""Annotations of config fields: types with their ranges."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Annotated


@dataclasses.dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number; `open_max` excludes the upper one, `open_min` the lower one."""

    min: float = -math.inf
    max: float = math.inf
    open_min: bool = False
    open_max: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.min if self.open_min else value >= self.min
        below = value < self.max if self.open_max else value <= self.max
        return above and below and (isinstance(value, int) or math.isfinite(value))

    def __str__(self) -> str:
        low = f"{'greater than' if self.open_min else 'at least'} {self.min}"
        high = f"{'less than' if self.open_max else 'at most'} {self.max}"
        return " and ".join(text for text, bound in ((low, self.min), (high, self.max)) if math.isfinite(bound))


@dataclasses.dataclass(frozen=True)
class Multiple:
    """The positive multiples of a number."""

    of: int

    def __contains__(self, value: int) -> bool:
        return value > 0 and value % self.of == 0

    def __str__(self) -> str:
        return f"a positive multiple of {self.of}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The strings a field may take."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]):
        object.__setattr__(self, "names", tuple(names))

    def __contains__(self, value: str) -> bool:
        return value in self.names

    def __str__(self) -> str:
        return "one of " + ", ".join(self.names)


_INT32 = 2**31 - 1
Positive = Annotated[int, Range(1, _INT32)]
Natural = Annotated[int, Range(0, _INT32)]
# Plausible ranges; values outside are refused as typos.
Width = Annotated[int, Range(1, 2**16)]  # channels
Depth = Annotated[int, Range(1, 256)]  # layers
Codes = Annotated[int, Range(1, 2**18)]
Weight = Annotated[float, Range(0, 1e6)]  # of a term of the loss
PositiveWeight = Annotated[float, Range(1e-6, 1e6)]
Decay = Annotated[float, Range(0, 1 - 1e-6)]
Rate = Annotated[float, Range(0, 0.99)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
