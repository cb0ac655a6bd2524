"""From configs to typed objects: every name, type and range is checked here, once.

A choice in a config is a name plus one dict of fields per entry that may be chosen:

    model.quantizer = "ema"
    model.ema = dict(num_codes=512, decay=0.99, ...)
    model.vq = dict(num_codes=512, ...)

so that `--config.model.quantizer=vq` alone works. `build(QUANTIZERS, settings.model, "quantizer")` takes the chosen
entry of the table and calls it with its fields. An entry is a class or function with annotated parameters; the
annotations are the whole schema, and `Range` adds the bounds.
"""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict

from vqjax.config.annotations import OneOf
from vqjax.system.errors import InputError, did_you_mean

_FLAX_FIELDS = ("parent", "name")  # of every module


def check_name(known: Collection[str], name: Any, key: str) -> None:
    """Raise InputError unless `name` is one of those known, such as the entries of a table."""
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{key}={name!r} is unknown.{did_you_mean(str(name), known)}\nKnown: {', '.join(known)}")


def check_value(value: Any, hint: Any, key: str) -> Any:
    """Return `value` as its annotated type, or raise InputError.

    An int becomes a float where one is asked for; a list, as JSON has it, a `tuple[kind, ...]`; a dict the dataclass
    that is asked for, whose ValueError, if it raises one, is reported under the same key.
    """
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if kind is Any:
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{key}={value!r}: expected tuple, got {type(value).__name__}")
        return tuple(check_value(item, get_args(kind)[0], f"{key}[{i}]") for i, item in enumerate(value))
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
    """Check `fields` against the annotated parameters of `entry`, less those in `given`.

    Returns the fields as a plain dict. Raises InputError that names the key of an unknown or missing field, a wrong
    type or a value out of range.
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
    """Check the fields of a new dataclass instance against their annotations, and convert them as these ask.

    For classes whose constructor anybody may call. Raises InputError with class and field as the key.
    """
    kind = type(instance)
    hints = get_type_hints(kind, include_extras=True)
    for name in (field.name for field in dataclasses.fields(kind) if field.name not in _FLAX_FIELDS):
        value = check_value(getattr(instance, name), hints[name], f"{kind.__name__}.{name}")
        object.__setattr__(instance, name, value)


class Section(NamedTuple):
    """A part of a config, with the key that messages name it by.

    Attributes:
      key: such as "config.model".
      values: its fields, and the sections of the entries that it may choose.
    """

    key: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any], key: str) -> "Section":
        """The section of a config at a dotted key, "config.model" for example. Raises InputError if there is none."""
        values: Any = config
        names = key.split(".")[1:]
        for i, name in enumerate(names):
            if not isinstance(values, Mapping | ConfigDict) or name not in values:
                raise InputError(f"config.{'.'.join(names[: i + 1])} is missing from the config")
            values = values[name]
        if not isinstance(values, Mapping | ConfigDict):
            raise InputError(f"{key}={values!r}: expected fields, a dict")
        return cls(key, values.to_dict() if isinstance(values, ConfigDict) else values)

    def part(self, name: str) -> "Section":
        """The section below this one. Raises InputError if it is missing, or no section."""
        key = f"{self.key}.{name}"
        if name not in self.values:
            raise InputError(f"{key} is missing from the config")
        if not isinstance(self.values[name], Mapping):
            raise InputError(f"{key}={self.values[name]!r}: expected the fields of {name}, a dict")
        return Section(key, self.values[name])

    def own(self, kind: type, *tables: Mapping[str, Any]) -> Any:
        """`kind`, a dataclass, made of the fields that belong to no entry of the tables; checks them."""
        own = {name: value for name, value in self.values.items() if not any(name in table for table in tables)}
        return kind(**check_fields(kind, own, self.key))


def build(table: Mapping[str, Any], section: Section, choice: str, **given: Any) -> Any:
    """Make the entry of `table` that a section chooses, of the entry's own fields, and check it.

    An entry made of other entries has a class method `from_section(section, choice, **given)`, which is called instead.
    What is made may have a method `check(key)` that raises InputError for fields that contradict each other.

    Args:
      table: name -> class or function with annotated parameters.
      section: has the choice, and a section for each entry that may be chosen.
      choice: the field that names the entry, "quantizer" for example; the fields of an entry "ema" are in the section
        "ema".
      **given: arguments that the program knows and the config does not.

    Raises:
      InputError: an unknown name (with the known ones), or a field that is unknown, missing, of a wrong type or out of
        range.
    """
    if choice not in section.values:
        raise InputError(f"{section.key}.{choice} is missing from the config")
    name = section.values[choice]
    check_name(table, name, f"{section.key}.{choice}")
    entry, fields = table[name], section.part(name)
    if hasattr(entry, "from_section"):
        made = entry.from_section(section, name, **given)
    else:
        made = entry(**check_fields(entry, fields.values, fields.key, given), **given)
    if hasattr(made, "check"):
        made.check(fields.key)
    return made
