"""The flags of commands that take a config: --config, its fields as --config.<name>, and --workdir."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from vqjax.config import loading
from vqjax.config.fields import places_of, set_fields
from vqjax.config.plain import format_config
from vqjax.system.arguments import Parser, program, underscored
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path

_FIELD = re.compile(r"--?(?P<no>no)?config\.(?P<key>[^=]+)(?P<equals>=(?P<value>.*))?", re.DOTALL)
_HELP = ("-h", "--help")
_BASE = "autoencoder"  # the config whose fields stand for those of one that is not named


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
        set_fields(given.config, settings)
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
        if places := places_of(config, name):
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
    """Split a command line into the fields that it sets and the rest."""
    settings: list[_Setting] = []
    rest: list[str] = []
    remaining = [*words]
    while remaining:
        word, *remaining = remaining
        if not (match := _FIELD.fullmatch(word)):
            rest.append(word)
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
