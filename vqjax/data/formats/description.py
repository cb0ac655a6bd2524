"""Descriptions of exported codes, as meta.json and the metadata of a Parquet file hold them."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqjax.codes import CodeLayout
from vqjax.system.errors import InputError

LAYOUT = "layout"  # key of a description under which its CodeLayout stands
_MAX_LENGTH = 2**31 - 1  # codes of an image, and numbers of a codebook


def to_json(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description as JSON holds it.

    Args:
      description: `layout`, a CodeLayout, and other fields that JSON can hold.

    Returns:
      The fields in their order; in the place of `layout` stand `num_codes` and `grid` of a single level of depth 1, or
      else `levels`.
    """
    fields: dict[str, Any] = {}
    for key, value in description.items():
        fields.update(_layout_to_json(value) if key == LAYOUT else {key: value})
    return fields


def from_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description from what `to_json` gives: the same fields, and `layout`. Any exception if it is none."""
    if not all(isinstance(name, str) for name in fields.get("class_names", ())):
        raise ValueError("expected names of classes")
    return {**fields, LAYOUT: _layout_from_json(fields)}


def _layout_to_json(layout: CodeLayout) -> dict[str, Any]:
    if level := layout.single:
        return {"num_codes": level.num_codes, "grid": list(level.grid)}
    return {"levels": layout.to_json()}


def _layout_from_json(fields: Mapping[str, Any]) -> CodeLayout:
    levels = fields.get("levels") or [{"name": "codes", "grid": fields["grid"], "num_codes": fields["num_codes"]}]
    layout = CodeLayout.from_json(levels)
    if len({level.name for level in layout.levels}) < len(layout.levels):
        raise ValueError("two levels have the same name")
    if any(len(level.grid) not in (2, 3) for level in layout.levels):
        raise ValueError(f"expected grids (h, w) or (T, h, w), found {layout}")
    if max(layout.length, layout.max_codes) > _MAX_LENGTH:
        raise ValueError(f"expected at most {_MAX_LENGTH:,} codes, found {layout}")
    return layout


@contextlib.contextmanager
def refuse_damage(file: Path, expected: str = "") -> Iterator[None]:
    """Turn any exception of a reader into an InputError of one line that names the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # damaged and hostile files fail in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{file}{f': expected {expected}' if expected else ' cannot be read'}: {reason}") from error
