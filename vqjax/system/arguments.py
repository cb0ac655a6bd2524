"""Parsers of the arguments of commands."""

import argparse
from typing import Any, NoReturn

from vqjax.system.errors import InputError, did_you_mean


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are InputErrors.

    A misspelled flag gets a suggestion. Flags cannot be abbreviated, not in subcommands either.
    """

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message, and a suggestion if it is about an unknown flag."""
        flag = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
        hint = did_you_mean(flag, self._option_string_actions) if flag.startswith("-") else ""
        raise InputError(f"{message}{'.' * bool(hint)}{hint}\n{self.prog} --help lists all arguments")


def parser(name: str, description: str, example: str) -> Parser:
    """Return the parser of the command `name`, with an example in its --help."""
    return Parser(
        prog=f"python -m vqjax {name}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_data_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags that say where the data of a run are now."""
    flags.add_argument(
        "--data_dir", help="directory of TFDS that has the run's data now (default: the run's own, else TFDS_DATA_DIR)"
    )
    flags.add_argument("--data_path", help="where the run's own images, or the files of its data set, are now")
