"""Configs as text, and where two differ."""

import textwrap
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.check import chosen_sections


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The dotted keys at which two nested dicts differ, each with its (old, new) value."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found[prefix + name] = (a, b)
    return found


def format_config(config: ConfigDict, every: bool = False) -> str:
    """The config, a section after the other, each name and value; a long one takes several lines of 100 characters.

    Without the entries that it does not choose, and the empty ones, unless it is to be `every`.
    """

    def lines(name: str, fields: ConfigDict) -> list[str]:
        plain = {k: v for k, v in fields.items() if not isinstance(v, ConfigDict)}
        words = " ".join(f"{k}={v}".replace(" ", "\xa0") for k, v in plain.items() if every or v != "")
        wrapper = textwrap.TextWrapper(100, f"{name:<20} ", " " * 21, break_long_words=False, break_on_hyphens=False)
        found = wrapper.wrap(words)
        for key, part in fields.items():
            if isinstance(part, ConfigDict) and (
                every or name == "config" or "." in name or key in chosen_sections(fields) or not plain
            ):
                found += lines(f"{name}.{key}".removeprefix("config."), part)
        return found

    return "\n".join(lines("config", config)).replace("\xa0", " ")
