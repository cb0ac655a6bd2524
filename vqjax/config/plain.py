"""Configs as plain dicts, as JSON gives them back: copies with other values, differences, and as text."""

import copy
import textwrap
from collections.abc import Iterator, Mapping
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


def chosen_sections(part: Mapping[str, Any]) -> list[str]:
    """Names of the sections of a plain part that its fields choose, and of those that these choose in turn."""

    def names(fields: Mapping[str, Any], deep: bool = True) -> Iterator[str]:
        for value in fields.values():
            if isinstance(value, Mapping):
                yield from names(value) if deep else ()
            elif isinstance(value, str) and isinstance(part.get(value), Mapping):
                yield value

    chosen = list(dict.fromkeys(names(part, deep=False)))
    for name in chosen:  # which grows
        chosen += [inner for inner in dict.fromkeys(names(part[name])) if inner not in chosen]
    return chosen


def format_config(config: Mapping[str, Any], every: bool = False) -> str:
    """Format a plain config, a section after the other, each name and value, in lines of 100 characters.

    Entries that it does not choose and empty fields are left out, unless it is to be `every` one.
    """

    def lines(name: str, fields: Mapping[str, Any]) -> list[str]:
        own = {k: v for k, v in fields.items() if not isinstance(v, Mapping)}
        words = " ".join(f"{k}={v}".replace(" ", "\xa0") for k, v in own.items() if every or v != "")
        wrapper = textwrap.TextWrapper(100, f"{name:<20} ", " " * 21, break_long_words=False, break_on_hyphens=False)
        wrapped, chosen = wrapper.wrap(words), chosen_sections(fields)
        for key, part in ((key, part) for key, part in fields.items() if isinstance(part, Mapping)):
            if every or name == "config" or "." in name or key in chosen or not own:
                wrapped += lines(f"{name}.{key}".removeprefix("config."), part)
        return wrapped

    return "\n".join(lines("config", config)).replace("\xa0", " ")
