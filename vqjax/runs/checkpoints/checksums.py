"""Checksums of arrays and of JSON. Orbax keeps none, and restores flipped bits without a word."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def array_checksums(tree: Any) -> dict[str, str]:
    """Return {name: SHA-256 over dtype, shape and bytes} of the leaves of a tree on the host."""
    return {jax.tree_util.keystr(path): _digest(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _digest(leaf: Any) -> str:
    array = np.ascontiguousarray(leaf)
    digest = hashlib.sha256(f"{array.dtype}{np.shape(leaf)}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_arrays(item: str, tree: Any, expected: Mapping[str, str]) -> None:
    """Raise ValueError, naming the leaf, unless the leaves of a tree have the expected checksums."""
    actual = array_checksums(tree)
    for name in {**expected, **actual}:
        if actual.get(name) != expected.get(name):
            raise ValueError(f"{item}{name} is not what was saved")


def json_checksum(value: Any) -> str:
    """SHA-256 over a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a `checksum` over the rest of it."""
    return {**content, "checksum": json_checksum(content)}


def verified(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument of `with_checksum`. Raises ValueError if it was changed since."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    if with_checksum(rest) != dict(content):
        raise ValueError("its record was changed")
    return rest
