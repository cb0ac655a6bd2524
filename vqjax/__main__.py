# PYTHON_ARGCOMPLETE_OK
"""`python -m vqjax <command>`, and `vqjax <command>` where the package is installed."""

import contextlib
import importlib
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from vqjax.commands.report import Report
from vqjax.system import output, process
from vqjax.system.arguments import Parser, as_typed, program
from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.version import __version__

COMMANDS = {  # name, which is that of a module in vqjax.commands -> what it does
    "train": "train what a config describes, or resume its training",
    "inspect": "summarize the data set of a config: size, classes, speed, problems",
    "prepare": "decode the images of a config once, into files that runs read as they are",
    "plan": "estimate what a run costs on other devices: memory, hours, what limits it",
    "devices": "show what JAX computes on, in each process, and whether they agree",
    "sample": "draw images from a trained prior",
    "evaluate": "evaluate a trained run again",
    "predict": "classify images",
    "explore": "write a page that shows the codes of a run in a browser",
    "decode": "turn codes into images",
    "export": "write codes, weights and programs for other software",
    "convert": "import published weights as a run",
    "reconstruct": "encode and decode images of any size",
    "record": "record an Atari game as clips",
    "compare": "compare runs: configs, metrics, curves",
    "ablate": "train runs to compare, and write their table",
}


def parse(words: Sequence[str]) -> tuple[Any, Any]:
    """Parse a command line, a command's name first.

    Returns:
      The command's module and its arguments.

    Raises:
      InputError: there is no such command, or an argument is wrong. SystemExit after --help.
    """
    name, *rest = words
    if name not in COMMANDS:
        hint = did_you_mean(name, (*COMMANDS, "--version", "--help"))
        raise InputError(f"{name!r} is not a command.{hint}\nKnown: {', '.join(COMMANDS)}")
    command = importlib.import_module(f"vqjax.commands.{name}")
    return command, command.parser().parse_args(rest)


def main(words: Sequence[str]) -> int:
    """Run the command that is named first, or list the commands; returns the exit status."""
    if "_ARGCOMPLETE" in os.environ:
        _complete(words)
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: {program('<command>')} [arguments]\n")
        print("".join(f"  {name:<13}{line}\n" for name, line in COMMANDS.items()))
        print(f"{program('<command>')} --help lists the arguments of a command; --version shows the version")
        return 0
    if words[0] == "--version":
        print(f"vqjax {__version__}")
        return 0
    command, given = parse(words)
    try:
        return _run(command, given)
    except InputError as error:
        raise as_typed(error) from error


def _run(command: Any, given: Any) -> int:
    """Run a command; a report that it returns goes to stdout."""
    with _progress(given):
        result = command.run(given)
    if isinstance(result, Report):  # else the exit status of a process that has nothing to tell
        if text := result.to_json() if given.json else "\n".join(result.lines):
            print(text)
        return result.status
    return result or 0


def _progress(given: Any) -> contextlib.AbstractContextManager[Any]:
    """Send what a command prints while it runs nowhere, or to stderr if stdout is for its result."""
    if given.quiet:
        return output.quiet()
    to_stderr = given.json or not given.progress_is_output
    return output.progress_to_stderr() if to_stderr else contextlib.nullcontext()


def _complete(words: Sequence[str]) -> None:
    """Print how the command line in the shell may go on, by the package argcomplete, and end the process."""
    import argcomplete

    start = int(os.environ["_ARGCOMPLETE"])  # words of the shell's line before the arguments
    *typed, _ = [*os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(), ""]
    name = next(iter(words or typed[start:]), "")
    if name in COMMANDS:
        os.environ["_ARGCOMPLETE"] = str(start + (not words))
        argcomplete.autocomplete(importlib.import_module(f"vqjax.commands.{name}").parser())
    parser = Parser(prog="vqjax")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--version", action="store_true")
    argcomplete.autocomplete(parser)


def entry() -> NoReturn:
    """Run the program `vqjax`."""
    process.run_command(main)


if __name__ == "__main__":
    entry()
