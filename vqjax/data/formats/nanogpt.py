"""Codes as the token files of nanoGPT: train.bin and val.bin, raw uint16, and a meta.json that says what they are.

Before each image stands its class token, K + class, or K without labels; then its codes with their own numbers, in
raster order. https://github.com/karpathy/nanoGPT, data/*/prepare.py
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, file_checksum, read_json, write_json

_TOKEN = np.dtype("<u2")
_CHUNK = 1 << 14  # images that are written at a time
_BACK = (
    "np.fromfile(file, '<u2').reshape(-1, tokens_per_image): column 0 less num_codes is the class (0 if num_classes is "
    "0), the other columns reshaped to (-1, *grid) are the codes"
)


def check(description: Mapping[str, Any]) -> None:
    """Raises InputError if codes of that description and their class tokens do not fit in 16 bits."""
    vocabulary = _vocabulary(description)
    if vocabulary > 1 << 16:
        raise InputError(
            f"--format=nanogpt: {description['num_codes']:,} codes and {_classes(description):,} class tokens are "
            f"{vocabulary:,} tokens, expected at most 65,536, since its files are of 16 bits\n--format=parquet has room"
        )


def write_codes(directory: Path, description: Mapping[str, Any], splits: Mapping[str, Split]) -> None:
    """Writes the split "train" as train.bin, the other one as val.bin, and meta.json. InputError as of `check`."""
    check(description)
    directory.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, split in splits.items():
        file = directory / ("train.bin" if name == "train" else "val.bin")
        with atomic_write(file) as temporary:
            with temporary.open("wb") as stream:
                for start in range(0, len(split), _CHUNK):
                    stream.write(_tokens(split[start : start + _CHUNK], description).tobytes())
            written[name] = {"file": file.name, "count": len(split), "sha256": file_checksum(temporary)}
    meta = {
        "format": "nanogpt",
        **description,
        "num_classes": len(description["class_names"]),
        "vocab_size": _vocabulary(description),
        "tokens_per_image": 1 + int(np.prod(description["grid"])),
        "splits": written,
        "back": _BACK,
    }
    write_json(directory / "meta.json", meta)


def read_codes(file: Path) -> tuple[Split, dict[str, Any]]:
    """The `codes` (N, h, w) and `label` (N,) of a file, mapped from disk, and the meta.json beside it.

    Also of a file that meta.json does not list, as samples of a model are, if it is laid out like those.

    Raises:
      InputError: no meta.json of an export, the file is damaged, or does not consist of images.
    """
    meta = _meta(file.parent)
    if meta is None:
        raise InputError(f"{file}: expected the meta.json of `vqjax export codes --format nanogpt` beside it")
    length, size = meta["tokens_per_image"], file.stat().st_size
    if not size or size % (length * _TOKEN.itemsize):
        raise InputError(f"{file} has {size:,} bytes: expected a multiple of {length} tokens of 2 bytes, one or more")
    listed = {entry["file"]: entry["sha256"] for entry in meta["splits"].values()}
    if file.name in listed and file_checksum(file) != listed[file.name]:
        raise InputError(f"{file} does not fit the checksum in meta.json")
    tokens = np.memmap(file, _TOKEN, "r").reshape(-1, length)
    first = meta["num_codes"]
    label = tokens[:, 0].astype(np.int32) - first
    if label.min() < 0 or label.max() >= _classes(meta):
        raise InputError(f"{file}: expected a class token, {first} to {meta['vocab_size'] - 1}, before each image")
    return Split(codes=tokens[:, 1:].reshape(-1, *meta["grid"]), label=label), meta


def read_fingerprint(directory: Path) -> str | None:
    """Of the stage 1 whose codes these are; None if there are none in this format."""
    return (_meta(directory) or {}).get("fingerprint")


def _meta(directory: Path) -> dict[str, Any] | None:
    """meta.json; None if there is none of this format, or it is damaged."""
    try:
        meta = dict(read_json(directory / "meta.json"))
        wanted = {"num_codes", "grid", "class_names", "fingerprint", "vocab_size", "tokens_per_image", "splits"}
        return meta if meta["format"] == "nanogpt" and wanted <= {*meta} else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tokens(split: Split, description: Mapping[str, Any]) -> np.ndarray:
    """Images as rows of tokens (N, 1 + h w)."""
    tokens = np.empty((len(split), 1 + int(np.prod(description["grid"]))), _TOKEN)
    tokens[:, 0] = description["num_codes"] + (split.arrays["label"] if description["class_names"] else 0)
    tokens[:, 1:] = split.arrays["codes"].reshape(len(split), -1)
    return tokens


def _classes(description: Mapping[str, Any]) -> int:
    """Class tokens."""
    return max(1, len(description["class_names"]))


def _vocabulary(description: Mapping[str, Any]) -> int:
    return int(description["num_codes"]) + _classes(description)
