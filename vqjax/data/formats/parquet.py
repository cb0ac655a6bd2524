"""Codes as Parquet, as Hugging Face `datasets`, pandas and others read it: <split>.parquet, an image a row.

codes    a list of L unsigned integers of the smallest type that holds them, in raster order; see `tokens`
label    int32, -1 where an image has none
file     string, the path of the image, escaped as of `paths`; where the images are files

Their description (K and grid, or levels and offsets; data set, class names, the fingerprint of stage 1) is JSON under
"vqjax" in a file's metadata.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqjax.codes import CodeLayout
from vqjax.data.files.damage import refuse_damage
from vqjax.data.formats.description import LAYOUT, from_json, to_json
from vqjax.data.formats.parts import Parts, check_labels, checked_parts, regrouped
from vqjax.data.formats.paths import escape_path, unescape_path
from vqjax.data.formats.tokens import codebook_offsets, from_tokens, num_tokens, to_tokens
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write
from vqjax.system.text import printable

_KEY = b"vqjax"
_LISTS = pa.ListType, pa.LargeListType, pa.FixedSizeListType
_CHUNK = 1 << 14  # images of a row group


def write_codes(
    directory: Path,
    description: Mapping[str, Any],
    name: str,
    parts: Parts,
    label: np.ndarray,
    data_hash: str | None = None,
    files: Sequence[str] | None = None,
) -> None:
    """Add a split to the directory, as <split>.parquet.

    Args:
      directory, description, name, parts: see `npy.write_codes`.
      label: (N,) int32; -1 where an image has none.
      data_hash: hash of the images, for the metadata.
      files: path of each image, N.

    Raises:
      ValueError: the parts are not what the layout says, or not as many as the labels.
    """
    check_labels(label, len(description["class_names"]))
    directory.mkdir(parents=True, exist_ok=True)
    layout: CodeLayout = description[LAYOUT]
    offsets = {} if layout.single else {"offsets": codebook_offsets(layout)}
    data = {"data": data_hash} if data_hash else {}
    metadata = {_KEY: json.dumps({**to_json(description), **offsets, "count": len(label), **data})}
    kind = pa.from_numpy_dtype(np.min_scalar_type(num_tokens(layout) - 1))
    columns = [("codes", pa.list_(pa.field("item", kind, nullable=False), layout.length)), ("label", pa.int32())]
    schema = pa.schema(columns + [("file", pa.string())] * (files is not None), metadata)
    with atomic_write(directory / f"{name}.parquet") as temporary, pq.ParquetWriter(temporary, schema) as writer:
        start = 0
        for part in regrouped(checked_parts(parts, layout, len(label)), _CHUNK):
            codes = to_tokens(layout, part)
            rows = slice(start, start + len(codes))
            writer.write_table(_table(schema, codes, label[rows], None if files is None else files[rows]))
            start += len(codes)


def _table(schema: pa.Schema, codes: np.ndarray, label: np.ndarray, files: Sequence[str] | None) -> pa.Table:
    lists = schema.field("codes").type
    values = pa.array(codes.reshape(-1), lists.value_type)
    columns = [pa.FixedSizeListArray.from_arrays(values, type=lists), pa.array(label, pa.int32())]
    if files is not None:
        columns.append(pa.array([escape_path(path) for path in files], pa.string()))
    return pa.table(columns, schema=schema)


def read_codes(file: Path, layout: CodeLayout | None = None) -> tuple[Split, dict[str, Any]]:
    """Return the codes of a file by the names of the layout, its `label` (N,) if it has any, and their description.

    Args:
      file: its column "codes" has lists of one length.
      layout: of the codes where the file does not say it: other programs drop metadata that they do not know.

    Raises:
      InputError: no Parquet, no such column, or lists that are not of the layout.
    """
    where = printable(str(file))
    with refuse_damage(f"{where}: expected Parquet with a column 'codes' of lists of integers"):
        source = pq.ParquetFile(file)
        meta = _read_meta(source)
        layout = meta.get(LAYOUT, layout)
        if layout is None:
            raise ValueError("it does not say of which grid they are")
        names = [name for name in ("codes", "label") if name in source.schema_arrow.names]
        table = source.read(names)
        if not isinstance(table.schema.field("codes").type, _LISTS):
            raise ValueError(f"its type is {table.schema.field('codes').type}")
        rows = [_rows(chunk, layout) for chunk in table["codes"].chunks if len(chunk)]
        if not rows:
            raise InputError(f"{where}: expected one image or more, found none")
        arrays = from_tokens(layout, np.concatenate(rows))
        if "label" in names:
            arrays["label"] = _labels(table["label"])
    return Split(**arrays), meta


def _rows(lists: pa.Array, layout: CodeLayout) -> np.ndarray:
    """Return lists of L tokens as an array (N, L). Raises ValueError if they have another length, or are missing."""
    values = lists.flatten()
    if lists.null_count or values.null_count:
        raise ValueError("some are missing")
    if any(pc.list_value_length(lists).unique().to_numpy() != layout.length):
        expected = " x ".join(map(str, layout.single.grid)) if layout.single else f"{layout.length:,}"
        raise ValueError(f"not all have {expected} codes")
    tokens: np.ndarray = values.to_numpy().reshape(-1, layout.length)
    if tokens.dtype.kind not in "iu":
        raise ValueError(f"they are of {tokens.dtype}")
    return tokens


def _labels(column: pa.ChunkedArray) -> np.ndarray:
    label: np.ndarray = column.to_numpy()
    if label.dtype.kind not in "iu":
        raise ValueError(f"its labels are of {column.type}, expected integers")
    return label


def read_files(file: Path) -> list[str] | None:
    """Return the paths of a file's images, in the order of its codes; None if it has none. InputError if damaged."""
    with refuse_damage(f"{printable(str(file))}: expected Parquet"):
        source = pq.ParquetFile(file)
        if "file" not in source.schema_arrow.names:
            return None
        return [unescape_path(path) for path in source.read(["file"])["file"].to_pylist()]


def read_fingerprint(directory: Path) -> str | None:
    """Fingerprint of the stage 1 whose codes are there; None if not all files are of one, in this format."""
    try:
        fingerprints = {_read_meta(pq.ParquetFile(path)).get("fingerprint") for path in directory.iterdir()}
    except Exception:  # damaged and hostile files fail in any way
        return None
    return fingerprints.pop() if len(fingerprints) == 1 else None


def _read_meta(source: pq.ParquetFile) -> dict[str, Any]:
    """Return the description of a file's codes, with their `layout`; {} if it is another program's."""
    text = (source.schema_arrow.metadata or {}).get(_KEY)
    return {} if text is None else from_json(dict(json.loads(text)))
