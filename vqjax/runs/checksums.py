"""Checksums of a checkpoint: Orbax keeps none of arrays, and restores flipped bits without a word."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def checksums(tree: Any) -> dict[str, str]:
    """{name: SHA-256 over dtype, shape and bytes} of the leaves of a tree on the host."""
    return {jax.tree_util.keystr(path): _digest(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _digest(leaf: Any) -> str:
    array = np.ascontiguousarray(leaf)
    digest = hashlib.sha256(f"{array.dtype}{np.shape(leaf)}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a checksum over the rest of it."""
    return {**record, "checksum": hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()}


def verified(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was sealed. Raises ValueError if it was changed since."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    if with_checksum(content) != dict(record):
        raise ValueError("its record was changed")
    return content


def check_checksums(item: str, tree: Any, expected: Mapping[str, str]) -> None:
    """Raises ValueError, naming the leaf, unless a tree has these checksums."""
    found = checksums(tree)
    for name in {**expected, **found}:
        if found.get(name) != expected.get(name):
            raise ValueError(f"{item}{name} is not what was saved")
