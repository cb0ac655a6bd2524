"""Fields of a config by their dotted keys, as a command line names them: found, checked and set."""

import ast
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.plain import chosen_sections, to_plain
from vqjax.system.errors import RENAMED, InputError, did_you_mean

_SYNONYMS = {  # names that other programs have for a field
    "lr": "learning_rate",
    "wd": "weight_decay",
    **dict.fromkeys(("bs", "batch"), "batch_size"),
    **dict.fromkeys(("epochs", "iterations", "iters", "max_steps"), "steps"),
    **dict.fromkeys(("codebook_size", "num_embeddings", "K"), "num_codes"),
    **dict.fromkeys(("embedding_dim", "codebook_dim"), "code_dim"),
}
_BOOLS = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}


def _bool(text: str) -> bool:
    if text.casefold() not in _BOOLS:
        raise ValueError
    return _BOOLS[text.casefold()]


def _tuple(text: str) -> tuple[Any, ...]:
    """Read "(8, 4)" or "8,4"."""
    value = ast.literal_eval(text)  # literals alone: nothing is executed
    return tuple(value) if isinstance(value, tuple | list) else (value,)


_READERS: dict[type, tuple[Callable[[str], Any], str]] = {  # type of a field -> reader of its text, what it expects
    bool: (_bool, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text"),
    tuple: (_tuple, "numbers with commas between"),
}


def check_field(config: ConfigDict, key: str) -> None:
    """Raise InputError unless the config has the field; says where it is, or which name is close."""
    part: Any = config
    path = key.split(".")
    for i, name in enumerate(path):
        if not isinstance(part, ConfigDict):
            raise InputError(f"--config.{key}: config.{'.'.join(path[:i])} is {part!r} and has no fields")
        if name not in part:
            raise InputError(f"--config.{key}: there is no such field{_hint(part, path[:i], path[i:])}")
        part = part[name]


def _hint(part: ConfigDict, above: list[str], missing: list[str]) -> str:
    """Return the end of a message about a field that a part of a config lacks."""
    name = missing[0]
    if RENAMED.get(name) not in part:
        inside = ".".join([*above, ""])
        if places := places_of(part, ".".join(missing)):
            return f"; expected {' or '.join(f'{inside}{place}' for place in places)}"
    return f".{did_you_mean(name, part)}\nKnown: {', '.join(part)}"


def places_of(part: ConfigDict, key: str) -> list[str]:
    """Return the dotted keys at or below a part of a config that end in `key` or, if there are none, a synonym of it.

    Those in entries that the config chooses go before those in others, which are left out then.
    """
    *above, name = key.split(".")
    synonym = ".".join([*above, _SYNONYMS.get(name, name)])
    return _find(part, key) or (_find(part, synonym) if synonym != key else [])


def _find(part: ConfigDict, key: str) -> list[str]:
    if _has(part, key):
        return [key]
    places = []
    for name, below in part.items():
        if isinstance(below, ConfigDict):
            places += [f"{name}.{place}" for place in _find(below, key)]
    chosen = chosen_sections(to_plain(part))
    return [place for place in places if place.partition(".")[0] in chosen] or places


def _has(part: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(part, ConfigDict) or name not in part:
            return False
        part = part[name]
    return True


def check_chosen(config: ConfigDict, key: str) -> None:
    """Raise InputError if the field belongs to an entry that the config does not choose, and so would do nothing."""
    *path, name = key.split(".")
    part = config
    for i, entry in enumerate(path):
        chosen = chosen_sections(to_plain(part))
        if chosen and entry not in chosen:
            instead = [".".join([*path[:i], other, *path[i + 1 :], name]) for other in chosen]
            instead = [other for other in instead if _has(config, other)]
            hint = f"expected {' or '.join(instead)}, or" if instead else "expected"
            section = "".join(f"{other}." for other in path[:i])
            raise InputError(
                f"--config.{key}: {section}{entry} is not chosen, the field would do nothing; {hint} "
                f"{section}{entry} to be chosen (now: {', '.join(dict.fromkeys(chosen))})"
            )
        part = part[entry]


def set_field(config: ConfigDict, key: str, text: str | None) -> None:
    """Set a field that the config has to the value in a text, of the type that the field has.

    Args:
      config: changed in place.
      key: dotted.
      text: of the value; None sets a field that is true or false to true.

    Raises:
      InputError: the text is no such value, there is none, or the key is that of a section.
    """
    *path, name = key.split(".")
    part = config
    for section in path:
        part = part[section]
    value = part[name]
    if isinstance(value, ConfigDict):
        fields = ", ".join(f"config.{key}.{field}" for field in list(value)[:3])
        raise InputError(f"--config.{key}: expected one of its fields, such as {fields}")
    read, expected = _READERS.get(type(value), (ast.literal_eval, "a literal of Python"))
    if text is None and not isinstance(value, bool):
        raise InputError(f"--config.{key}: expected a value, as in --config.{key}={_shown(value)}")
    try:
        part[name] = read("true" if text is None else text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(f"--config.{key}={text}: expected {expected}, as in {_shown(value)}") from error


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
