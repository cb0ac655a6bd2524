"""Arguments of commands, and of the Python functions that commands call: one name for one thing in all of them."""

import argparse
import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.extras import install_hint
from vqjax.system.switches import own_settings

SPLITS = ("train", "validation", "test")
# Arguments that Python functions have too: in messages --out is there called out.
_SHARED = (
    *("workdir", "step", "stage1", "split", "num", "out", "format", "data_dir", "data_path", "codes", "images"),
    *("classes", "seed", "batch", "temperature", "top_k", "top_p", "guidance", "steps", "keep", "neighbors"),
    *("order", "levels", "depth", "features", "cas"),
)
_AS_FLAGS = re.compile(rf"(?<![^\s(])--(?=(?:{'|'.join(_SHARED)})\b(?!\.))")


def program(command: str) -> str:
    """Return a command as the user types it: "vqjax train", "python -m vqjax train" or "python train.py"."""
    called = Path(sys.argv[0]).name
    if called == f"{command}.py":
        return f"python {called}"
    return f"vqjax {command}" if called in ("vqjax", "vqjax.exe") else f"python -m vqjax {command}"


def underscored(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with underscores for the dashes inside of flags: --top_k for --top-k."""
    end = words.index("--") if "--" in words else len(words)
    return [*map(_underscored, words[:end]), *words[end:]]


def _underscored(word: str) -> str:
    flag, equals, value = word.partition("=")
    return f"--{flag[2:].replace('-', '_')}{equals}{value}" if flag.startswith("--") else word


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Formatter of --help, with lines of at most 100 characters."""

    def __init__(self, prog: str):
        super().__init__(prog, width=100)


class Parser(argparse.ArgumentParser):
    """Argument parser of a command, whose errors are InputErrors.

    A misspelled flag gets a suggestion. Flags cannot be abbreviated, not in subcommands either; dashes inside of them
    are read as underscores.
    """

    _words: tuple[str, str] | None = None  # names of the leading word and of those that follow it, "" for none

    def __init__(self, command: str = "", example: str = "", **settings: Any):
        """Create the parser of a command by its name, with an example for --help: its arguments."""
        if command:
            typed = program(command)
            settings.update(prog=typed, epilog=f"example:\n  {typed} {example}")
        settings.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def add_workdir(self, description: str, files: str = "") -> None:
        """Add --workdir, which may be the first word too, and files behind it.

        Args:
          description: of the run.
          files: name of one of the files, "image" for example, of which there must be one or more; "": there are none.
        """
        self._words = "workdir", files
        self.usage = f"{self.prog} WORKDIR {f'{files.upper()} … ' if files else ''}[arguments]"
        self.add_argument("--workdir", metavar="DIR", help=description)
        shown = f"workdir {files}" if files else "workdir"
        text = f"the workdir, unless --workdir names it{f'; then files, or directories of {files}s' if files else ''}"
        self.add_argument("words", nargs="*", metavar=shown, help=text)

    def add_options(self, options: Mapping[str, tuple[int | bool | str, str]]) -> None:
        """Add flags {name: (default, help)}: of the default's type, switches where it is False."""
        for name, (default, text) in options.items():
            whole = isinstance(default, int)
            typed = {"type": whole_number if whole else str, "metavar": "N" if whole else name.upper()}
            kind: dict[str, Any] = {"action": "store_true"} if default is False else typed
            self.add_argument(f"--{name}", default=default, help=text, **kind)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given, unknown = super().parse_known_args(underscored(sys.argv[1:] if args is None else args), namespace)
        if self._words:
            unknown = self._place_words(given, unknown)
        return given, unknown

    def _place_words(self, given: argparse.Namespace, unknown: list[str]) -> list[str]:
        """Set the workdir and the files from words that stand without a flag; returns what is left over."""
        assert self._words
        (first, files), flags = self._words, [word for word in unknown if word.startswith("-")]
        words = given.words + [word for word in unknown if not word.startswith("-")]
        del given.words
        if flags:
            return unknown
        if given.workdir is None and words:
            given.workdir, *words = words
        missing = [f"--{first}"] * (given.workdir is None) + [files] * (bool(files) and not words)
        if missing:
            self.error(f"the following arguments are required: {', '.join(missing)}")
        if files:
            setattr(given, f"{files}s", words)
        return [] if files else words

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message, and a suggestion if it is about an unknown flag."""
        message = re.sub(r"^argument (?=-)", "", message)
        flag = re.split("[ =:]", message.removeprefix("unrecognized arguments: "), maxsplit=1)[0]
        unknown = flag.startswith("-") and flag not in self._option_string_actions
        others = [other for other in self._option_string_actions if other not in ("-h", "--help")]
        hint = did_you_mean(flag, others) if unknown else ""
        raise InputError(f"{message}{'.' * bool(hint)}{hint}\n{self.prog} --help lists all arguments")


def whole_number(text: str) -> int:
    """Return the number in an argument's text; argparse reports the error if there is none."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}") from error


def number(text: str) -> float:
    """Return the number in an argument's text; argparse reports the error if there is none."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from error


def add_step(parser: Parser) -> None:
    """Add --step."""
    parser.add_argument("--step", type=whole_number, metavar="N", help="step of the checkpoint (default: best or last)")


def add_stage1(parser: Parser) -> None:
    """Add --stage1."""
    parser.add_argument("--stage1", metavar="DIR", help="the autoencoder's run, if it has moved since")


def add_split(parser: Parser, default: str, *others: str) -> None:
    """Add --split, which may have other values than the three splits."""
    choices = (*SPLITS, *others)
    shown = f"{', '.join(choices[:-1])} or {choices[-1]} (default: {default})"
    parser.add_argument("--split", choices=choices, default=default, metavar="SPLIT", help=shown)


def add_data_flags(parser: Parser) -> None:
    """Add the flags that say where the data of a run are now."""
    text = "TFDS directory of the data (default: the run's own, else TFDS_DATA_DIR)"
    parser.add_argument("--data_dir", metavar="DIR", help=text)
    parser.add_argument("--data_path", metavar="PATH", help="your own images, or files of the data set, if moved")


def add_output_flags(parser: Parser, progress_is_output: bool = False) -> None:
    """Add --json and --quiet.

    Progress goes to stderr, so that stdout has the result alone. Where `progress_is_output`, as that of a training is,
    it goes there with --json only.
    """
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else, to stdout")
    parser.add_argument("--quiet", action="store_true", help="print no progress: only results and errors")
    parser.set_defaults(progress_is_output=progress_is_output)


@contextlib.contextmanager
def argument_names() -> Iterator[None]:
    """Name arguments in errors as Python has them: --step is step. `as_typed` gives the error back as it was.

    An ImportError of a package that is missing says which extra of vqjax installs it. JAX computes under vqjax's own
    settings, see `switches`.
    """
    try:
        with own_settings():
            yield
    except ImportError as error:
        if hint := install_hint(error):
            raise ImportError(hint, name=error.name) from error
        raise
    except InputError as error:
        plain = _AS_FLAGS.sub("", str(error))
        if plain == str(error):
            raise
        raise type(error)(plain) from error


def as_typed(error: InputError) -> InputError:
    """Return an error in which arguments are named as flags again."""
    cause = error.__cause__
    same = isinstance(cause, InputError) and _AS_FLAGS.sub("", str(cause)) == str(error)
    return cause if same and isinstance(cause, InputError) else error
