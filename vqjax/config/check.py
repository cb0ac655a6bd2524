"""From a ConfigDict to typed objects: every name, type and range is checked here, once.

A choice in a config is a name plus one dict of fields per entry that may be chosen:

    model.quantizer = "ema"
    model.ema = dict(num_codes=512, decay=0.99, ...)
    model.vq = dict(num_codes=512, ...)

so that `--config.model.quantizer=vq` alone works. `build(QUANTIZERS, config, "model.quantizer")`
takes the chosen entry of the table and calls it with its fields. An entry is a class or function with
annotated parameters; the annotations are the whole schema, and `Range` adds the bounds.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from vqjax.config.annotations import OneOf, Sibling
from vqjax.system.errors import InputError, did_you_mean

_FLAX_FIELDS = ("parent", "name")  # of every module


def check_name(table: Mapping[str, Any], name: Any, key: str) -> None:
    """Raises InputError unless `name` is an entry of `table`."""
    if not isinstance(name, str) or name not in table:
        raise InputError(f"{key}={name!r} is unknown.{did_you_mean(str(name), table)}\nKnown: {', '.join(table)}")


def check_value(value: Any, hint: Any, key: str) -> Any:
    """Returns `value` as its annotated type, or raises InputError.

    An int becomes a float where one is asked for; a list, as JSON has it, a `tuple[kind, ...]`; a dict the dataclass
    that is asked for, whose ValueError, if it raises one, is reported under the same key.
    """
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if kind is Any:
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{key}={value!r}: expected tuple, got {type(value).__name__}")
        return tuple(check_value(each, get_args(kind)[0], f"{key}[{i}]") for i, each in enumerate(value))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        fields = check_fields(kind, value, key)
        try:
            return kind(**fields)
        except ValueError as error:
            raise InputError(f"{key}: {error}") from error
    if kind is float and type(value) is int:
        value = float(value)
    if isinstance(kind, type) and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise InputError(f"{key}={value!r}: expected {kind.__name__}, got {type(value).__name__}")
    for limit in limits:
        if value not in limit:
            hint = did_you_mean(value, limit.names) if isinstance(limit, OneOf) else ""
            raise InputError(f"{key}={value!r}: expected {limit}.{hint}".rstrip("."))
    return value


def check_fields(entry: Callable, fields: Mapping[str, Any], key: str, given: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Checks `fields` against the annotated parameters of `entry`, less those in `given`.

    Returns the fields as a plain dict. Raises InputError that names the key of an unknown or missing
    field, a wrong type or a value out of range.
    """
    hints = get_type_hints(entry, include_extras=True)
    parameters = inspect.signature(entry).parameters
    hidden = {*given, *_FLAX_FIELDS} if "parent" in parameters else {*given}
    expected = {name: parameter for name, parameter in parameters.items() if name not in hidden}
    for name in fields:
        if name not in expected:
            raise InputError(f"{key}.{name} is unknown.{did_you_mean(name, expected)}\nKnown: {', '.join(expected)}")
    for name, parameter in expected.items():
        if name not in fields and parameter.default is inspect.Parameter.empty:
            raise InputError(f"{key}.{name} is missing from the config")
    return {name: check_value(value, hints[name], f"{key}.{name}") for name, value in fields.items()}


def check_attributes(instance: Any) -> None:
    """Checks the fields of a new dataclass instance against their annotations, and converts them as these ask.

    For classes whose constructor anybody may call. Raises InputError with class and field as the key.
    """
    kind = type(instance)
    hints = get_type_hints(kind, include_extras=True)
    for name in (field.name for field in dataclasses.fields(kind) if field.name not in _FLAX_FIELDS):
        value = check_value(getattr(instance, name), hints[name], f"{kind.__name__}.{name}")
        object.__setattr__(instance, name, value)


def section_fields(kind: type, fields: ConfigDict, key: str, *tables: Mapping[str, Any]) -> Any:
    """`kind` made of the fields of a section that belong to no entry of the tables, checked as by `check_fields`."""
    own = {name: value for name, value in fields.items() if not any(name in table for table in tables)}
    return kind(**check_fields(kind, own, key))


def section(config: ConfigDict, path: str) -> ConfigDict:
    """The part of `config` at a dotted path; InputError if there is none."""
    for i, name in enumerate(path.split(".")):
        if not isinstance(config, ConfigDict) or name not in config:
            raise InputError(f"config.{'.'.join(path.split('.')[: i + 1])} is missing from the config")
        config = config[name]
    return config


def build(table: Mapping[str, Callable], config: ConfigDict, path: str, **given: Any) -> Any:
    """Calls the entry of `table` that `config` chooses at `path` with that entry's fields.

    Args:
      table: name -> class or function with annotated parameters.
      config: the whole config.
      path: dotted path of the choice, e.g. "model.quantizer"; the fields of an entry named `ema` are at
        "model.ema". A parameter marked as `Sibling` is a choice, too: the entry that it names is built with the same
        `given` from the section beside.
      **given: arguments that the program knows and the config does not.

    Raises:
      InputError: an unknown name (with the known ones), or a field that is unknown, missing, of a wrong
        type or out of range, or in the way of another by the entry's own `check(key)`.
    """
    return _build(table, config, path, path.rpartition(".")[0], given, ())


def _build(
    table: Mapping[str, Callable],
    config: ConfigDict,
    path: str,
    parent: str,
    given: Mapping[str, Any],
    outer: tuple[str, ...],
) -> Any:
    """As `build`, with the sections of the entries in `parent` and the names of the entries around this one."""
    name = section(config, path)
    check_name(table, name, f"config.{path}")
    if name in outer:
        raise InputError(f"config.{path}={name!r}: expected another entry than {', '.join(outer)}")
    where = f"{parent}.{name}" if parent else name
    section_ = section(config, where)
    if not isinstance(section_, ConfigDict):
        raise InputError(f"config.{where}={section_!r}: expected the fields of {name}, a dict")
    fields = section_.to_dict()
    for inner in _siblings(table[name]):
        fields[inner] = _build(table, config, f"{where}.{inner}", parent, given, (*outer, name))
    entry = table[name](**check_fields(table[name], fields, f"config.{where}", given), **given)
    if hasattr(entry, "check"):
        entry.check(f"config.{where}")
    return entry


def _siblings(entry: Callable) -> list[str]:
    """Names of the parameters of an entry that are other entries of its table."""
    hints = get_type_hints(entry, include_extras=True)
    return [name for name, hint in hints.items() if any(isinstance(limit, Sibling) for limit in get_args(hint)[1:])]


def chosen_sections(part: ConfigDict) -> list[str]:
    """Names of the sections of a part of a config that its fields choose, and of those that these choose in turn."""

    def chosen(fields: ConfigDict) -> list[str]:
        return [name for name in fields.values() if isinstance(name, str) and isinstance(part.get(name), ConfigDict)]

    direct = chosen(part)
    return list(dict.fromkeys([*direct, *(inner for name in direct for inner in chosen(part[name]))]))
