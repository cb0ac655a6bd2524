"""Fields of a config by their dotted keys, as a command line names them: found and set."""

import ast
from collections.abc import Callable, Sequence
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


def set_fields(config: ConfigDict, settings: Sequence[tuple[str, str | None]]) -> None:
    """Set fields of a config, in place, each to a value of the type that it has.

    Args:
      config: has the fields.
      settings: (dotted key, text of the value); None sets a field that is true or false to true.

    Raises:
      InputError: there is no such field, the text is no such value, or the field would do nothing, since the config
        does not choose its section.
    """
    parts = {key: _parts(config, key) for key, _ in settings}
    for key, text in settings:
        section, name = parts[key][-1], key.rpartition(".")[2]
        section[name] = _value(key, text, section[name])
    for key in parts:
        _check_chosen(config, key)


def _parts(config: ConfigDict, key: str) -> list[ConfigDict]:
    """Return the config and the sections of it along a key, down to that which has the field.

    Raises InputError if there is no such field; says where it is, or which name is close.
    """
    part: Any = config
    parts, path = [], key.split(".")
    for i, name in enumerate(path):
        if not isinstance(part, ConfigDict):
            raise InputError(f"--config.{key}: config.{'.'.join(path[:i])} is {part!r} and has no fields")
        if name not in part:
            raise InputError(f"--config.{key}: there is no such field{_hint(part, path[:i], path[i:])}")
        parts.append(part)
        part = part[name]
    return parts


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

    Those in sections that the config chooses go before those in others, which are left out then.
    """
    *above, name = key.split(".")
    keys = _keys(part)
    for wanted in (key, ".".join([*above, _SYNONYMS.get(name, name)])):
        if wanted in keys:
            return [wanted]
        if places := [place for place in keys if place.endswith(f".{wanted}")]:
            return [place for place in places if not _other_choice(part, place)] or places
    return []


def _keys(part: ConfigDict) -> list[str]:
    """Return the dotted keys of all fields and sections below a part of a config."""
    below = ((name, _keys(value)) for name, value in part.items() if isinstance(value, ConfigDict))
    return [*part, *(f"{name}.{key}" for name, keys in below for key in keys)]


def _other_choice(part: ConfigDict, key: str) -> tuple[int, list[str]] | None:
    """Return the place in a key of the first section that others are chosen instead of, and these; None for none."""
    for i, name in enumerate(key.split(".")[:-1]):
        chosen = chosen_sections(to_plain(part))
        if chosen and name not in chosen:
            return i, chosen
        part = part[name]
    return None


def _check_chosen(config: ConfigDict, key: str) -> None:
    """Raise InputError if the field belongs to a section that the config does not choose, and so would do nothing."""
    if not (found := _other_choice(config, key)):
        return
    (i, chosen), path, keys = found, key.split("."), _keys(config)
    section = ".".join(path[: i + 1])
    others = [".".join([*path[:i], name, *path[i + 1 :]]) for name in chosen]
    instead = [other for other in others if other in keys]
    hint = f"expected {' or '.join(instead)}, or" if instead else "expected"
    raise InputError(
        f"--config.{key}: {section} is not chosen, the field would do nothing; {hint} {section} to be chosen "
        f"(now: {', '.join(chosen)})"
    )


def _value(key: str, text: str | None, old: Any) -> Any:
    """Return the value in the text that sets a field, of the type of its old value; see `set_fields`."""
    if isinstance(old, ConfigDict):
        fields = ", ".join(f"config.{key}.{field}" for field in list(old)[:3])
        raise InputError(f"--config.{key}: expected one of its fields, such as {fields}")
    read, expected = _READERS.get(type(old), (ast.literal_eval, "a literal of Python"))
    if text is None and not isinstance(old, bool):
        raise InputError(f"--config.{key}: expected a value, as in --config.{key}={_shown(old)}")
    try:
        return read("true" if text is None else text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(f"--config.{key}={text}: expected {expected}, as in {_shown(old)}") from error


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
