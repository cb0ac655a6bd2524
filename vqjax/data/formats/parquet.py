"""Codes as Parquet, as Hugging Face `datasets`, pandas and others read it: <split>.parquet, an image a row.

codes    a list of h w unsigned integers of the smallest type that holds them, in raster order
label    int32

What they are (K, grid, data set, class names, the fingerprint of stage 1) is JSON under "vqjax" in a file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write

_KEY = b"vqjax"
_LISTS = pa.ListType, pa.LargeListType, pa.FixedSizeListType
_CHUNK = 1 << 14  # images of a row group


def write_codes(directory: Path, description: Mapping[str, Any], splits: Mapping[str, Split]) -> None:
    """Adds a file for each split to the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        kind = pa.from_numpy_dtype(np.min_scalar_type(description["num_codes"] - 1))
        codes = pa.list_(pa.field("item", kind, nullable=False), int(np.prod(description["grid"])))
        metadata = {_KEY: json.dumps({**description, "count": len(split)})}
        schema = pa.schema([("codes", codes), ("label", pa.int32())], metadata)
        with atomic_write(directory / f"{name}.parquet") as temporary, pq.ParquetWriter(temporary, schema) as writer:
            for start in range(0, len(split), _CHUNK):
                writer.write_table(_table(split[start : start + _CHUNK], schema))


def _table(split: Split, schema: pa.Schema) -> pa.Table:
    codes = schema.field("codes").type
    values = pa.array(split.arrays["codes"].reshape(-1), codes.value_type)
    columns = [pa.FixedSizeListArray.from_arrays(values, type=codes), pa.array(split.arrays["label"], pa.int32())]
    return pa.table(columns, schema=schema)


def read_codes(file: Path, grid: tuple[int, int]) -> tuple[Split, dict[str, Any]]:
    """The `codes` (N, h, w) of a file, its `label` (N,) if it has any, and what it says of them.

    Args:
      file: its column "codes" has lists of one length.
      grid: (h, w) where the file does not say it: other programs drop what they do not know.

    Raises:
      InputError: no Parquet, no such column, or lists that are not of the grid.
    """
    try:
        source = pq.ParquetFile(file)
        meta = _meta(source)
        grid = tuple(meta.get("grid", grid))
        names = [name for name in ("codes", "label") if name in source.schema_arrow.names]
        table = source.read(names)
        if not isinstance(table.schema.field("codes").type, _LISTS):
            raise ValueError(f"its type is {table.schema.field('codes').type}")
        rows = [_rows(chunk, grid) for chunk in table["codes"].chunks]
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file}: expected Parquet with a column 'codes' of lists of integers: {reason}") from error
    if not rows:
        raise InputError(f"{file}: expected one image or more, found none")
    arrays = {"codes": np.concatenate(rows)}
    return Split(**arrays, **{name: table[name].to_numpy() for name in names if name == "label"}), meta


def _rows(lists: pa.Array, grid: tuple[int, ...]) -> np.ndarray:
    """Lists of h w codes -> (N, h, w). ValueError if they have another length, or are missing."""
    values = lists.flatten()
    if lists.null_count or values.null_count:
        raise ValueError("some are missing")
    if any(pc.list_value_length(lists).unique().to_numpy() != np.prod(grid)):
        raise ValueError(f"not all have {' x '.join(map(str, grid))} codes")
    codes: np.ndarray = values.to_numpy().reshape(-1, *grid)
    return codes


def read_fingerprint(directory: Path) -> str | None:
    """Of the stage 1 whose codes these are; None if not all that is there is of one, in this format."""
    try:
        found = {_meta(pq.ParquetFile(path)).get("fingerprint") for path in directory.iterdir()}
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return None
    return found.pop() if len(found) == 1 else None


def _meta(source: pq.ParquetFile) -> dict[str, Any]:
    """What the file says of its codes; {} if it is another program's."""
    return dict(json.loads((source.schema_arrow.metadata or {}).get(_KEY, b"{}")))
