"""Configs as text."""

import textwrap
from collections.abc import Mapping
from typing import Any

from vqjax.config.check import chosen_sections


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
