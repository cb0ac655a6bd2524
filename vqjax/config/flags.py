"""The flags of the commands that take a config: --config, its fields as --config.<name>, and --workdir."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from vqjax.config import loading
from vqjax.config.check import chosen_sections
from vqjax.config.display import format_config
from vqjax.system.arguments import parser
from vqjax.system.errors import RENAMED, InputError, did_you_mean
from vqjax.system.paths import absolute_path

_FIELD = re.compile(r"--?(?P<no>no)?config\.(?P<key>[^=]+)(?P<value>=.*)?", re.DOTALL)


class ParsedFlags(NamedTuple):
    """A command line, parsed: the config, its fields set as the flags have it, and where to work."""

    config: ConfigDict
    workdir: Path
    options: Mapping[str, int | bool | str] = {}


def parse_flags(
    arguments: Sequence[str],
    command: str,
    description: str,
    example: str,
    options: Mapping[str, tuple[int | bool | str, str]] = {},
) -> ParsedFlags:
    """Parse a command line.

    Args:
      arguments: of the command.
      command: its name; `ablate` takes a config of rows, the others the config of a run.
      description, example: for --help.
      options: other flags, {name: (default, help)}: of the default's type, switches where it is False.

    Raises:
      InputError: the config is missing or another command's, or a flag is wrong.
      SystemExit: after --help.
    """
    fields, rest = _split(arguments)
    known = _parser(command, description, example, options)
    asked = [word for word in rest if word in ("-h", "--help")]
    given, unknown = known.parse_known_args([word for word in rest if word not in asked])
    if asked and not given.config:
        known.parse_args(asked)
    if unknown:
        known.error(f"unrecognized arguments: {' '.join(unknown)}")
    if not given.config:
        raise InputError(f"--config is missing: expected a file or one of\n{loading.listing()}")
    config, file, argument = _load(given.config, command)
    config = _with_fields(config, fields)
    if asked:
        text = format_config(config.to_dict(), every=True)
        print(f"The fields of {given.config}, each set with --config.<name>=<value>:\n\n{text}")
        raise SystemExit(0)
    workdir = absolute_path(given.workdir, "--workdir") if given.workdir else default_workdir(file, argument)
    return ParsedFlags(config, workdir, {name: getattr(given, name) for name in options})


def _parser(
    command: str, description: str, example: str, options: Mapping[str, tuple[int | bool | str, str]]
) -> argparse.ArgumentParser:
    """The parser of all flags but the fields of the config."""
    known = parser(command, description, example)
    known.add_argument("--config", metavar="FILE[:ARG]", help="a file, or the name of a config that comes with vqjax")
    known.add_argument("--config.NAME", metavar="VALUE", help="sets a field; --config FILE --help lists the fields")
    known.add_argument("--workdir", metavar="DIR", help="default: runs/<the config's name and argument>")
    for name, (default, text) in options.items():
        typed: dict[str, Any] = {"type": type(default), "metavar": "N" if isinstance(default, int) else name.upper()}
        kind = {"action": "store_true"} if default is False else typed
        known.add_argument(f"--{name}", default=default, help=text, **kind)
    return known


def _split(arguments: Sequence[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """The fields that are set, each with its words as they stand, and the rest of the command line."""
    settings: list[tuple[str, list[str]]] = []
    rest: list[str] = []
    words = [*arguments]
    while words:
        word, *words = words
        if not (match := _FIELD.fullmatch(word)):
            rest.append(word)
            continue
        value = [] if match["value"] or match["no"] or not words or words[0].startswith("--") else [words.pop(0)]
        settings.append((match["key"], [word, *value]))
    return settings, rest


def _load(name: str, command: str) -> tuple[ConfigDict, Path, str]:
    """Load the config that --config names; return it with its file and its argument.

    Raises InputError, which names the right command, if the config is another command's.
    """
    file, argument = loading.find_config(name)
    config = loading.load_config(file, argument)
    has_rows = "task" not in config and len(config) and all(isinstance(row, ConfigDict) for row in config.values())
    if has_rows and command != "ablate":
        raise InputError(f"--config={name} has rows to compare: python -m vqjax ablate --config {name}")
    if "task" in config and command == "ablate":
        raise InputError(
            f"--config={name} is the config of one run, expected rows: python -m vqjax train --config {name}"
        )
    return config, file, argument


def _with_fields(config: ConfigDict, fields: Sequence[tuple[str, list[str]]]) -> ConfigDict:
    """Set the fields that the command line names, each with its words. Raises InputError for one that is wrong."""
    for key, _ in fields:
        _check_field(config, key)
    values, argv = flags.FlagValues(), ["vqjax", *(word for _, words in fields for word in words)]
    config_flags.DEFINE_config_dict("config", config, flag_values=values, lock_config=True, sys_argv=argv)
    try:
        values(argv)
    except (flags.Error, ValueError, TypeError, KeyError) as error:
        raise InputError("\n".join(str(error).strip().splitlines()[:3])) from error
    for key, _ in fields:
        _check_chosen(values.config, key)
    return values.config


def _check_field(config: ConfigDict, key: str) -> None:
    """Raises InputError unless the config has the field; says where it is, or what is called nearly so."""
    part: Any = config
    path = key.split(".")
    for i, name in enumerate(path):
        if not isinstance(part, ConfigDict):
            raise InputError(f"--config.{key}: config.{'.'.join(path[:i])} is {part!r} and has no fields")
        if name not in part:
            if RENAMED.get(name) in part:
                raise InputError(f"--config.{key}: there is no such field.{did_you_mean(name, part)}")
            inside = ".".join([*path[:i], ""])
            places = [f"{inside}{place}" for place in _places(part, ".".join(path[i:]))]
            if places:
                raise InputError(f"--config.{key}: there is no such field; expected {' or '.join(places)}")
            raise InputError(
                f"--config.{key}: there is no such field.{did_you_mean(name, part)}\nKnown: {', '.join(part)}"
            )
        part = part[name]


def _places(part: ConfigDict, key: str) -> list[str]:
    """Where below a part of the config a key stands: in the chosen entries, or else in any."""
    found = []
    for name, below in part.items():
        if isinstance(below, ConfigDict):
            if _has(below, key):
                found.append(f"{name}.{key}")
            found += [f"{name}.{place}" for place in _places(below, key)]
    chosen = chosen_sections(part)
    return [place for place in found if place.partition(".")[0] in chosen] or found


def _has(part: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(part, ConfigDict) or name not in part:
            return False
        part = part[name]
    return True


def _check_chosen(config: ConfigDict, key: str) -> None:
    """Raises InputError if the field belongs to an entry that the config does not choose, and so would do nothing."""
    *path, name = key.split(".")
    part = config
    for i, each in enumerate(path):
        chosen = chosen_sections(part)
        if chosen and each not in chosen:
            instead = [".".join([*path[:i], other, *path[i + 1 :], name]) for other in chosen]
            instead = [other for other in instead if _has(config, other)]
            hint = f"expected {' or '.join(instead)}, or" if instead else "expected"
            section = "".join(f"{other}." for other in path[:i])
            raise InputError(
                f"--config.{key}: {section}{each} is not chosen, the field would do nothing; {hint} "
                f"{section}{each} to be chosen (now: {', '.join(dict.fromkeys(chosen))})"
            )
        part = part[each]


def default_workdir(file: Path, argument: str) -> Path:
    """runs/digits of configs/digits.py, runs/classifier-mnist of configs/classifier.py:mnist, and so in its folders."""
    *folders, name = file.with_suffix("").parts
    inside = folders[len(folders) - folders[::-1].index("configs") :] if "configs" in folders else []
    return Path("runs", *inside, "-".join(filter(None, [name, argument.replace(",", "-")])))
