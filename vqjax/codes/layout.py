"""Layouts of codes: which grids an image has codes on, how many per position, and their order in a sequence."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vqjax.system.errors import InputError

Codes = Any  # an array (N, *shape), or {level's name: array} where there are several levels


class Level(NamedTuple):
    """A grid of codes.

    Attributes:
      name: unique in its layout.
      grid: (h, w); (T, h, w) of a clip.
      num_codes: K.
      depth: codes per position, D.
    """

    name: str
    grid: tuple[int, ...]
    num_codes: int
    depth: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image's codes: the grid, with a last axis of D where D is above 1."""
        return self.grid if self.depth == 1 else (*self.grid, self.depth)

    @property
    def length(self) -> int:
        """Number of codes of an image."""
        return math.prod(self.grid) * self.depth

    @property
    def dtype(self) -> np.dtype:
        """Smallest unsigned integer that holds a code."""
        return np.min_scalar_type(self.num_codes - 1)

    def frequency(self, codes: np.ndarray) -> np.ndarray:
        """Share of each code in codes (N, *shape): (K,), or (D, K) where D is above 1, each row a distribution."""
        rows = np.moveaxis(codes, -1, 0) if self.depth > 1 else codes[None]
        shares = np.stack([np.bincount(row.reshape(-1), minlength=self.num_codes) / row.size for row in rows])
        return shares if self.depth > 1 else shares[0]


class CodeLayout(NamedTuple):
    """Levels of codes, from coarse to fine.

    To a user the codes of N images are an array (N, h, w) for one level of depth 1, (N, h, w, D) for depth D, and a
    dict {level's name: array} for several levels. Models of the codes see the sequence (N, L): level after level, each
    in raster order, the D codes of a position side by side.

    Attributes:
      levels: from coarse to fine.
      named: whether codes are a dict although there is one level: it is a part of a layout of several.
    """

    levels: tuple[Level, ...]
    named: bool = False

    @property
    def by_name(self) -> bool:
        """Whether codes are a dict {level's name: array}."""
        return self.named or len(self.levels) > 1

    def part(self, levels: slice) -> "CodeLayout":
        """Return the layout of some of its levels, an equal one of all; codes of all of them are codes of it, too."""
        chosen = self.levels[levels]
        return CodeLayout(chosen, self.by_name and len(chosen) == 1)

    @property
    def length(self) -> int:
        """L, the number of codes of an image."""
        return sum(level.length for level in self.levels)

    @property
    def num_codes(self) -> np.ndarray:
        """K at each place of the sequence, (L,) int32."""
        return np.concatenate([np.full(level.length, level.num_codes, np.int32) for level in self.levels])

    @property
    def max_codes(self) -> int:
        """The largest K."""
        return max(level.num_codes for level in self.levels)

    @property
    def bits(self) -> float:
        """Bits of an image's codes, log2 K each."""
        return sum(level.length * math.log2(level.num_codes) for level in self.levels)

    @property
    def single(self) -> Level | None:
        """The level, if codes are an array with one code per position."""
        return None if self.by_name or self.levels[0].depth > 1 else self.levels[0]

    @property
    def names(self) -> dict[str, Level]:
        """Levels by the names of their arrays in splits and files: "codes", or "codes_top", "codes_bottom", …."""
        if not self.by_name:
            return {"codes": self.levels[0]}
        return {f"codes_{level.name}": level for level in self.levels}

    @property
    def coordinates(self) -> np.ndarray:
        """Level, depth, row and column of each place of the sequence, (L, 4) int32; frames are stacked by row."""
        parts = []
        for number, level in enumerate(self.levels):
            *frames, height, width = level.grid
            rows, columns, depths = np.indices((math.prod(frames) * height, width, level.depth)).reshape(3, -1)
            parts.append(np.stack([np.full_like(rows, number), depths, rows, columns], axis=1))
        return np.concatenate(parts).astype(np.int32)

    def flatten(self, codes: Codes) -> Any:
        """Codes as users see them -> the sequence (N, L), of the same integers; traceable."""
        arrays = self.split(codes)
        parts = [array.reshape(len(array), -1) for array in arrays.values()]
        if len(parts) == 1:
            return parts[0]
        if all(isinstance(part, np.ndarray) for part in parts):
            dtype = np.min_scalar_type(self.max_codes - 1) if parts[0].dtype.kind == "u" else np.int32
            return np.concatenate([part.astype(dtype) for part in parts], axis=1)
        return jnp.concatenate([part.astype(jnp.int32) for part in parts], axis=1)

    def unflatten(self, sequence: Any) -> Codes:
        """A sequence (N, L) -> codes as users see them; traceable."""
        ends = np.cumsum([level.length for level in self.levels])[:-1]
        numpy = np if isinstance(sequence, np.ndarray) else jnp
        parts = numpy.split(sequence, ends, axis=1) if len(ends) else [sequence]
        arrays = {level.name: part.reshape(len(part), *level.shape) for level, part in zip(self.levels, parts)}
        return arrays if self.by_name else next(iter(arrays.values()))

    @property
    def suffixes(self) -> list[str]:
        """Suffixes by which metrics of each level and depth are named, "" where there is one."""
        return [*self.maps(np.zeros(self.length))]

    def maps(self, values: Any) -> dict[str, Any]:
        """Values (..., L) of the places -> grids (..., h, w) by a suffix for level and depth, "" where there is one."""
        maps, start = {}, 0
        for level in self.levels:
            name = f"_{level.name}" if self.by_name else ""
            part = values[..., start : start + level.length].reshape(*values.shape[:-1], *level.grid, level.depth)
            for depth in range(level.depth):
                maps[f"{name}_{depth + 1}" if level.depth > 1 else name] = part[..., depth]
            start += level.length
        return maps

    def split(self, codes: Codes) -> dict[str, Any]:
        """Codes as users see them -> arrays by the names of `names`."""
        if not self.by_name:
            return {"codes": codes}
        return {name: codes[level.name] for name, level in self.names.items()}

    def join(self, arrays: Mapping[str, Any]) -> Codes:
        """Arrays by the names of `names`, maybe among others -> codes as users see them."""
        if not self.by_name:
            return arrays["codes"]
        return {level.name: arrays[name] for name, level in self.names.items()}

    def previews(self, codes: Codes) -> list[Codes]:
        """Return codes cut to what is known first, from the least to all: fewer levels, fewer codes per position.

        The numbers of codes per position are the powers of 2, and D. Traceable.
        """
        if not self.by_name:
            return [codes if depth == self.levels[0].depth else codes[..., :depth] for depth in _depths(self.levels[0])]
        found, known = [], dict[str, Any]()
        for level in self.levels:
            grid = codes[level.name]
            found += [{**known, level.name: grid if d == level.depth else grid[..., :d]} for d in _depths(level)]
            known[level.name] = grid
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """The levels as JSON has them."""
        return [{**level._asdict(), "grid": list(level.grid)} for level in self.levels]

    @classmethod
    def from_json(cls, levels: Any) -> "CodeLayout":
        """The layout of what `to_json` gives. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(tuple(_level(**entry) for entry in levels))

    def __str__(self) -> str:
        """For messages: "8 x 8 codes of 512", "top 4 x 4 of 512, bottom 8 x 8 x 2 of 64"."""
        shown = [f"{' x '.join(map(str, level.shape))} codes of {level.num_codes:,}" for level in self.levels]
        if len(shown) == 1:
            return shown[0]
        return ", ".join(f"{level.name} {text}" for level, text in zip(self.levels, shown))


def _depths(level: Level) -> list[int]:
    return [*(2**power for power in range((level.depth - 1).bit_length())), level.depth]


def _level(name: str, grid: Any, num_codes: int, depth: int = 1) -> Level:
    level = Level(str(name), tuple(int(size) for size in grid), int(num_codes), int(depth))
    if min(*level.grid, level.num_codes, level.depth) < 1:
        raise ValueError(f"{level}: expected numbers of 1 or more")
    return level


def single_level(grid: tuple[int, ...], num_codes: int, depth: int = 1) -> CodeLayout:
    """A layout of one level."""
    return CodeLayout((Level("codes", tuple(grid), num_codes, depth),))


def require_single(layout: CodeLayout, key: str) -> Level:
    """The level of a layout of one level and depth 1. Raises InputError for any other, with the `key` that needs it."""
    if (level := layout.single) is None:
        raise InputError(f"{key}: expected codes on one grid, one per position; found {layout}")
    return level
