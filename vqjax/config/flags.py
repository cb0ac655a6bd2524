"""The flags of commands that take a config: --config, its fields as --config.<name>, and --workdir."""

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from vqjax.config import loading
from vqjax.config.plain import chosen_sections, format_config, to_plain
from vqjax.system.arguments import Parser, program, underscored
from vqjax.system.errors import RENAMED, InputError, did_you_mean
from vqjax.system.paths import absolute_path

_FIELD = re.compile(r"--?(?P<no>no)?config\.(?P<key>[^=]+)(?P<equals>=(?P<value>.*))?", re.DOTALL)
_HELP = ("-h", "--help")
_BASE = "autoencoder"  # the config whose fields stand for those of one that is not named

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


class _Setting(NamedTuple):
    """A field on the command line, with the text of its value; None if there is none."""

    key: str
    text: str | None


class ConfigParser(Parser):
    """Parser of a command that takes the config of a run, or of `rows` of runs.

    The arguments that it parses have `config`, its fields set by the flags, `workdir`, a Path, and `typed`, the words.
    """

    def __init__(self, command: str, description: str, example: str, rows: bool = False, workdir: bool = True):
        """Create the parser of a command by its name, with an example for --help: its arguments.

        Without a `workdir` it has no flag of that name.
        """
        super().__init__(command, example, description=description)
        self._rows = rows
        names = self.add_argument("--config", metavar="FILE[:ARG]", help="a file, or the name of a config of vqjax")
        names.completer = lambda **_: loading.config_names()  # type: ignore[attr-defined]  # for argcomplete
        self.add_argument("--config.NAME", metavar="VALUE", help="sets a field; --config FILE --help lists the fields")
        if workdir:
            self.add_argument("--workdir", metavar="DIR", help="default: runs/<the config's name and argument>")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words of a command line. Raises InputError if anything is wrong; SystemExit after --help."""
        settings, words = _split(underscored(args))
        wants_help = any(word in _HELP for word in words)
        if wants_help:
            for action in self._actions:
                action.required = False
        given, unknown = self.parse_known_args([word for word in words if word not in _HELP], namespace)
        given.typed = tuple(args)
        if not given.config:
            self._refuse_missing(wants_help, unknown)
        name, (file, argument) = given.config, loading.find_config(given.config)
        given.config = self._load(name, file, argument)
        self._refuse_unknown(unknown, given.config)
        _set_fields(given.config, settings)
        given.config.lock()
        if wants_help:
            fields = format_config(given.config.to_dict(), every=True)
            print(f"The fields of {name}, each set with --config.<name>=<value>:\n\n{fields}")
            raise SystemExit(0)
        workdir = getattr(given, "workdir", None)
        given.workdir = absolute_path(workdir, "--workdir") if workdir else default_workdir(file, argument)
        return given

    def _refuse_missing(self, wants_help: bool, unknown: Sequence[str]) -> None:
        """Refuse a command line without a config, or show the help that it asks for."""
        if wants_help:
            self.print_help()
            raise SystemExit(0)
        self._refuse_unknown(unknown, loading.load_config(*loading.find_config(_BASE)))
        raise InputError(f"--config is missing: expected a file or one of\n{loading.listing()}")

    def _refuse_unknown(self, unknown: Sequence[str], config: ConfigDict) -> None:
        """Raise InputError if there are unknown arguments; one that is a field of the config gets the right flag."""
        if not unknown:
            return
        name = unknown[0].lstrip("-").partition("=")[0]
        if places := _places_of(config, name):
            fields = " or ".join(f"--config.{place}" for place in places)
            raise InputError(f"unrecognized arguments: {' '.join(unknown)}; the field of the config is set by {fields}")
        self.error(f"unrecognized arguments: {' '.join(unknown)}")

    def _load(self, name: str, file: Path, argument: str) -> ConfigDict:
        """Load the config of a name. Raises InputError, which names the right command, if it is another command's."""
        config = loading.load_config(file, argument)
        rows = "task" not in config and len(config) and all(isinstance(row, ConfigDict) for row in config.values())
        if rows and not self._rows:
            raise InputError(f"--config={name} has rows to compare: {program('ablate')} --config {name}")
        if "task" in config and self._rows:
            expected = f"expected rows: {program('train')} --config {name}"
            raise InputError(f"--config={name} is the config of one run, {expected}")
        return config


def _split(words: Sequence[str]) -> tuple[list[_Setting], list[str]]:
    """Split a command line into the fields that it sets and the rest. Raises InputError for --noconfig with a value."""
    settings: list[_Setting] = []
    rest: list[str] = []
    remaining = [*words]
    while remaining:
        word, *remaining = remaining
        if not (match := _FIELD.fullmatch(word)):
            rest.append(word)
        elif match["equals"] and match["no"]:
            key = match["key"]
            raise InputError(f"{word}: expected --noconfig.{key}, or --config.{key} with true or false")
        elif match["equals"] or match["no"]:
            settings.append(_Setting(match["key"], "false" if match["no"] else match["value"]))
        else:
            follows = bool(remaining) and not remaining[0].startswith("--")
            settings.append(_Setting(match["key"], remaining.pop(0) if follows else None))
    return settings, rest


def default_workdir(file: Path, argument: str) -> Path:
    """Return runs/digits for configs/digits.py, runs/classifier-mnist for configs/classifier.py:mnist, and so on."""
    *folders, name = file.with_suffix("").parts
    inside = folders[len(folders) - folders[::-1].index("configs") :] if "configs" in folders else []
    return Path("runs", *inside, "-".join(filter(None, [name, argument.replace(",", "-")])))


def _set_fields(config: ConfigDict, settings: Sequence[tuple[str, str | None]]) -> None:
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
        if places := _places_of(part, ".".join(missing)):
            return f"; expected {' or '.join(f'{inside}{place}' for place in places)}"
    return f".{did_you_mean(name, part)}\nKnown: {', '.join(part)}"


def _places_of(part: ConfigDict, key: str) -> list[str]:
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
    """Return the value in the text that sets a field, of the type of its old value; see `_set_fields`."""
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
