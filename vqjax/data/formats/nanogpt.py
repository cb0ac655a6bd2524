"""Codes as the token files of nanoGPT: train.bin and val.bin, raw uint16, and a meta.json that describes them.

Before each image stands its class token, V + class, or V without labels, where V is the number of tokens of all
codebooks: K of a single one. Then come its codes as tokens, see `tokens`, in raster order.
https://github.com/karpathy/nanoGPT, data/*/prepare.py
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.codes import CodeLayout
from vqjax.data.files.damage import refuse_damage
from vqjax.data.formats.description import LAYOUT, from_json, to_json
from vqjax.data.formats.parts import Parts, check_labels, checked_parts
from vqjax.data.formats.paths import write_paths
from vqjax.data.formats.tokens import codebook_offsets, from_tokens, num_tokens, to_tokens
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, file_checksum, read_json, write_json
from vqjax.system.text import printable

_TOKEN = np.dtype("<u2")
_SINGLE = (
    "np.fromfile(file, '<u2').reshape(-1, tokens_per_image): column 0 less num_codes is the class (0 if num_classes is "
    "0), the other columns reshaped to (-1, *grid) are the codes"
)
_LEVELS = (
    "np.fromfile(file, '<u2').reshape(-1, tokens_per_image): column 0 less first_class_token is the class (0 if "
    "num_classes is 0); the other columns are level after level, each reshaped to (-1, *grid, depth); less its "
    "offsets, one a depth, they are the codes"
)


def check(description: Mapping[str, Any]) -> None:
    """Raise InputError if codes of that description and their class tokens do not fit in 16 bits."""
    vocabulary = _vocabulary(description)
    if vocabulary > 1 << 16:
        raise InputError(
            f"--format=nanogpt: {num_tokens(description[LAYOUT]):,} codes and {_class_tokens(description):,} class "
            f"tokens are {vocabulary:,} tokens, expected at most 65,536, since its files are of 16 bits\n"
            "--format=parquet has room"
        )


def write_codes(
    directory: Path,
    description: Mapping[str, Any],
    name: str,
    parts: Parts,
    label: np.ndarray,
    data_hash: str | None = None,
    files: Sequence[str] | None = None,
) -> None:
    """Add a split to the directory: "train" as train.bin, any other as val.bin.

    Args:
      directory, description, name, parts: see `npy.write_codes`.
      label: (N,) int32.
      data_hash: hash of the images, for meta.json.
      files: path of each image, N; written to <split>_files.txt.

    Raises:
      InputError: see `check`; or an image has no label, where others have.
      ValueError: the parts are not what the layout says, or not as many as the labels.
    """
    check(description)
    check_labels(label, len(description["class_names"]))
    if len(label) and label.min() < 0:
        raise InputError(f"--format=nanogpt: some images of {name} have no label: there is no token for that")
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / ("train.bin" if name == "train" else "val.bin")
    with atomic_write(file) as temporary:
        with temporary.open("wb") as stream:
            for tokens in _tokens(description[LAYOUT], parts, label):
                stream.write(tokens.tobytes())
        data = {"data": data_hash} if data_hash else {}
        entry = {"file": file.name, "count": len(label), "sha256": file_checksum(temporary), **data}
    if files is not None:
        with atomic_write(directory / f"{name}_files.txt") as temporary:
            write_paths(temporary, files)
    before = _read_meta(directory) or {}
    others = before["splits"] if before.get("fingerprint") == description["fingerprint"] else {}
    splits = {other: part for other, part in others.items() if other == name or part["file"] != file.name}
    write_json(directory / "meta.json", _meta(description, {**splits, name: entry}))


def _meta(description: Mapping[str, Any], splits: Mapping[str, Any]) -> dict[str, Any]:
    layout = description[LAYOUT]
    own = {} if layout.single else {"offsets": codebook_offsets(layout), "first_class_token": num_tokens(layout)}
    return {
        "format": "nanogpt",
        **to_json(description),
        **own,
        "num_classes": len(description["class_names"]),
        "vocab_size": _vocabulary(description),
        "tokens_per_image": 1 + layout.length,
        "splits": splits,
        "back": _SINGLE if layout.single else _LEVELS,
    }


def read_codes(file: Path) -> tuple[Split, dict[str, Any]]:
    """Return the codes of a file by the names of the layout, with `label` (N,), and their description.

    A file that meta.json does not list, such as samples of a model, is read if it is laid out like those.

    Raises:
      InputError: no meta.json of an export, the file is damaged, or does not consist of images.
    """
    where = printable(str(file))
    meta = _read_meta(file.parent)
    if meta is None:
        raise InputError(f"{where}: expected the meta.json of `vqjax export codes --format nanogpt` beside it")
    layout: CodeLayout = meta[LAYOUT]
    length, size = 1 + layout.length, file.stat().st_size
    if not size or size % (length * _TOKEN.itemsize):
        raise InputError(f"{where} has {size:,} bytes: expected a multiple of {length} tokens of 2 bytes, one or more")
    listed = {entry["file"]: entry["sha256"] for entry in meta["splits"].values()}
    if file.name in listed and file_checksum(file) != listed[file.name]:
        raise InputError(f"{where} does not fit the checksum in meta.json")
    tokens = np.memmap(file, _TOKEN, "r").reshape(-1, length)
    first = num_tokens(layout)
    label = tokens[:, 0].astype(np.int32) - first
    if label.min() < 0 or label.max() >= _class_tokens(meta):
        raise InputError(f"{where}: expected a class token, {first} to {_vocabulary(meta) - 1}, before each image")
    with refuse_damage(f"{where} cannot be read"):
        return Split(**from_tokens(layout, tokens[:, 1:]), label=label), meta


def read_fingerprint(directory: Path) -> str | None:
    """Fingerprint of the stage 1 whose codes are there; None if there are none in this format."""
    return (_read_meta(directory) or {}).get("fingerprint")


def _read_meta(directory: Path) -> dict[str, Any] | None:
    """Return meta.json with the `layout` of its codes; None if there is none of this format, or it is damaged."""
    try:
        meta = from_json(read_json(directory / "meta.json"))
        listed = [(entry["file"], entry["sha256"]) for entry in meta["splits"].values()]
        return meta if meta["format"] == "nanogpt" and meta["fingerprint"] and listed else None
    except Exception:  # damaged and hostile files fail in any way
        return None


def _tokens(layout: CodeLayout, parts: Parts, label: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the images of each part as rows of tokens (n, 1 + L)."""
    start = 0
    for part in checked_parts(parts, layout, len(label)):
        codes = to_tokens(layout, part)
        tokens = np.empty((len(codes), 1 + layout.length), _TOKEN)
        tokens[:, 0] = num_tokens(layout) + label[start : start + len(codes)]
        tokens[:, 1:] = codes
        start += len(codes)
        yield tokens


def _class_tokens(description: Mapping[str, Any]) -> int:
    """Number of class tokens."""
    return max(1, len(description["class_names"]))


def _vocabulary(description: Mapping[str, Any]) -> int:
    return num_tokens(description[LAYOUT]) + _class_tokens(description)
