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
import difflib
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict


class InputError(ValueError):
    """Something that was given is wrong: commands show it without a traceback, before they compile or write."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number; `open_max` excludes the upper one, `open_min` the lower one."""

    min: float = -math.inf
    max: float = math.inf
    open_min: bool = False
    open_max: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.min if self.open_min else value >= self.min
        below = value < self.max if self.open_max else value <= self.max
        return above and below and (isinstance(value, int) or math.isfinite(value))

    def __str__(self) -> str:
        low = f"{'greater than' if self.open_min else 'at least'} {self.min}"
        high = f"{'less than' if self.open_max else 'at most'} {self.max}"
        return " and ".join(text for text, bound in ((low, self.min), (high, self.max)) if math.isfinite(bound))


@dataclasses.dataclass(frozen=True)
class Multiple:
    """The positive multiples of a number."""

    of: int

    def __contains__(self, value: int) -> bool:
        return value > 0 and value % self.of == 0

    def __str__(self) -> str:
        return f"a positive multiple of {self.of}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The strings a field may take."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]):
        object.__setattr__(self, "names", tuple(names))

    def __contains__(self, value: str) -> bool:
        return value in self.names

    def __str__(self) -> str:
        return "one of " + ", ".join(self.names)


_INT32 = 2**31 - 1
Positive = Annotated[int, Range(1, _INT32)]
Natural = Annotated[int, Range(0, _INT32)]
# Bounds within which float32 computes and something is learned; beyond them nothing that anybody would mean.
Width = Annotated[int, Range(1, 2**16)]  # channels
Depth = Annotated[int, Range(1, 256)]  # layers
Codes = Annotated[int, Range(1, 2**18)]
Weight = Annotated[float, Range(0, 1e6)]  # of a term of the loss
PositiveWeight = Annotated[float, Range(1e-6, 1e6)]
Decay = Annotated[float, Range(0, 1 - 1e-6)]
Rate = Annotated[float, Range(0, 0.99)]
Seed = Annotated[int, Range(0, 2**32 - 1)]


@dataclasses.dataclass(frozen=True)
class Data:
    """`config.data`."""

    name: str
    data_dir: str
    shuffle: bool
    validation: Rate
    flip: bool
    crop: Natural
    path: str = ""
    size: str = ""
    channels: Annotated[int, Range(0, 3)] = 0
    frames: Natural = 0
    test: Rate = 0.1
    memory: Annotated[float, Range(0, 2**20)] = 4.0
    workers: Annotated[int, Range(0, 1024)] = 0
    cache: bool = True
    limit: Natural = 0
    resized_crop: Rate = 0.0
    enlarged: Annotated[float, Range(1, 2)] = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The fields that every config has, whatever its task; `model` is the task's own."""

    task: str
    seed: Seed
    steps: Positive
    batch_size: Positive
    parallel: str
    log_every: Positive
    eval_every: Positive
    save_every: Positive
    data: ConfigDict
    model: ConfigDict
    optimizer: ConfigDict
    microbatch: Natural = 0  # examples that a device takes at a time; not with batch norm
    start: str = ""  # the workdir of a run whose weights this one starts from


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondStage(Run):
    """The fields of a run on the codes of a frozen stage 1."""

    stage1: str  # its workdir


def parse_size(text: str, key: str) -> tuple[int, int] | None:
    """(H, W) of "HxW" or of one number for both; None of "". Raises InputError, naming the key."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    height, width = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < height <= _INT32 or not 0 < width <= _INT32:
        raise InputError(f"{key}={text!r}: expected a number of pixels, or HxW")
    return height, width


def nearest(name: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """' Did you mean "X"?' for a misspelt name, or nothing when no known name is close; X is shown as `show` has it."""
    folded = {each.casefold(): each for each in known}
    match = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f' Did you mean "{show(folded[match[0]])}"?' if match else ""


def check_name(table: Mapping[str, Any], name: Any, key: str) -> None:
    """Raises InputError unless `name` is an entry of `table`."""
    if not isinstance(name, str) or name not in table:
        raise InputError(f"{key}={name!r} is unknown.{nearest(str(name), table)}\nKnown: {', '.join(table)}")


def check_value(value: Any, hint: Any, key: str) -> Any:
    """Returns `value` as its annotated type, or raises InputError.

    An int becomes a float where one is asked for; a list, as JSON has it, a `tuple[kind, ...]`; a dict the dataclass
    that is asked for, whose ValueError, if it raises one, is reported under the same key.
    """
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
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
            hint = nearest(value, limit.names) if isinstance(limit, OneOf) else ""
            raise InputError(f"{key}={value!r}: expected {limit}.{hint}".rstrip("."))
    return value


def check_fields(entry: Callable, fields: Mapping[str, Any], key: str, given: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Checks `fields` against the annotated parameters of `entry`, less those in `given`.

    Returns the fields as a plain dict. Raises InputError that names the key of an unknown or missing
    field, a wrong type or a value out of range.
    """
    hints = get_type_hints(entry, include_extras=True)
    parameters = inspect.signature(entry).parameters
    hidden = {*given, "parent", "name"} if "parent" in parameters else {*given}  # Flax's own fields of every module
    expected = {name: parameter for name, parameter in parameters.items() if name not in hidden}
    for name in fields:
        if name not in expected:
            raise InputError(f"{key}.{name} is unknown.{nearest(name, expected)}\nKnown: {', '.join(expected)}")
    for name, parameter in expected.items():
        if name not in fields and parameter.default is inspect.Parameter.empty:
            raise InputError(f"{key}.{name} is missing from the config")
    return {name: check_value(value, hints[name], f"{key}.{name}") for name, value in fields.items()}


def own_fields(kind: type, fields: ConfigDict, key: str, *tables: Mapping[str, Any]) -> Any:
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
        "model.ema".
      **given: arguments that the program knows and the config does not.

    Raises:
      InputError: an unknown name (with the known ones), or a field that is unknown, missing, of a wrong
        type or out of range.
    """
    name = section(config, path)
    check_name(table, name, f"config.{path}")
    parent = path.rpartition(".")[0]
    where = f"{parent}.{name}" if parent else name
    fields = section(config, where)
    if not isinstance(fields, ConfigDict):
        raise InputError(f"config.{where}={fields!r}: expected the fields of {name}, a dict")
    fields = check_fields(table[name], fields.to_dict(), f"config.{where}", given)
    return table[name](**fields, **given)


def check_run(config: ConfigDict, fields: type[Run] = Run) -> None:
    """Checks the fields outside `model` and `optimizer`, which are checked as they are built."""
    check_fields(fields, dict(config.items()), "config")
    check_fields(Data, config.data.to_dict(), "config.data")


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


def brief(config: ConfigDict, every: bool = False) -> str:
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
                every or name == "config" or "." in name or key in plain.values() or not plain
            ):
                found += lines(f"{name}.{key}".removeprefix("config."), part)
        return found

    return "\n".join(lines("config", config)).replace("\xa0", " ")
