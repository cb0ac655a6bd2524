"""Parsers of the arguments of commands."""

import argparse
from typing import Any, NoReturn

from vqjax.system.errors import InputError, did_you_mean


class Parser(argparse.ArgumentParser):
    """What is wrong with the arguments is an InputError, and a misspelt flag names the nearest; none is abbreviated."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)  # of a command's subcommands too

    def error(self, message: str) -> NoReturn:
        flag = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
        hint = did_you_mean(flag, self._option_string_actions) if flag.startswith("-") else ""
        raise InputError(f"{message}{'.' * bool(hint)}{hint}\n{self.prog} --help lists what there is")


def parser(name: str, description: str, example: str) -> Parser:
    """Of the arguments of a command by its name, with an example for --help."""
    return Parser(
        prog=f"python -m vqjax {name}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_data_flags(flags: argparse.ArgumentParser) -> None:
    """Adds what says where a run's data lies by now."""
    flags.add_argument(
        "--data_dir", help="where TFDS has the run's data now (default: where it was, or else TFDS_DATA_DIR)"
    )
    flags.add_argument("--data_path", help="where the run's own images, or the files of its set, are now")
