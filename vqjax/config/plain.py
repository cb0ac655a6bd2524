"""Configs as plain dicts, as JSON gives them back: their differences, and copies with other values."""

import copy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def to_plain(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
    """Copy a config to nested dicts of what JSON has: tuples become lists."""
    fields = config.to_dict() if isinstance(config, ConfigDict) else config
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return to_plain(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def with_fields(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a plain config, with other values of the fields that `changes` names by their dotted keys."""
    changed = copy.deepcopy(dict(config))
    for key, value in changes.items():
        *sections, name = key.split(".")
        part = changed
        for section in sections:
            part = part[section]
        part[name] = value
    return changed


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Find the dotted keys at which two nested dicts differ, each with its (old, new) value."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found[prefix + name] = (a, b)
    return found
