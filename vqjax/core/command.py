"""What the commands share: how they are called, and how they end, with a status and without a traceback."""

import argparse
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vqjax.core import compilation, interrupts, memory
from vqjax.core.config import InputError, nearest
from vqjax.core.files import Unwritten

# What is wrong with a place, not with the program.
_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)),
)
UNREAD = 128 + 13  # the status where nobody reads any more what is printed, as of a program that SIGPIPE ends
Main = Callable[[Sequence[str]], int | None]  # arguments, less the command's name -> the exit status, None being 0


class Parser(argparse.ArgumentParser):
    """What is wrong with the arguments is an InputError, and a misspelt flag names the nearest; none is abbreviated."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)  # of a command's subcommands too

    def error(self, message: str) -> NoReturn:
        flag = message.removeprefix("unrecognized arguments: ").partition(" ")[0].partition("=")[0]
        hint = nearest(flag, self._option_string_actions) if flag.startswith("-") else ""
        raise InputError(f"{message}{'.' * bool(hint)}{hint}\n{self.prog} --help lists what there is")


def parser(name: str, description: str, example: str) -> Parser:
    """Of the arguments of a command by its name, with an example for --help."""
    return Parser(
        prog=f"python -m vqjax {name}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def data_flags(flags: argparse.ArgumentParser) -> None:
    """Adds what says where a run's data lies by now."""
    flags.add_argument(
        "--data_dir", help="where TFDS has the run's data now (default: where it was, or else TFDS_DATA_DIR)"
    )
    flags.add_argument("--data_path", help="where the run's own images, or the files of its set, are now")


def status(main: Callable[[], int | None]) -> int:
    """What `main` returns, None being 0; 2 after an InputError, or an OSError that is of a place, and not the program's
    fault, which are shown; 130 if Ctrl-C stopped it; UNREAD.

    Whatever it writes must appear whole or not at all.
    """
    try:
        returned = main() or 0
        sys.stdout.flush()
        return returned
    except (InputError, Unwritten) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return UNREAD
        if error.errno not in _PLACES or error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, AssertionError):
        if not (platforms := _without_device()):
            raise
        print(f"error: JAX_PLATFORMS={platforms}: JAX finds no such device", file=sys.stderr)
        return 2


def _unread() -> bool:
    """Whether nobody reads any more what is printed, as after `| head`; from then on it is lost without a word."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        return True
    return False


def _without_device() -> str:
    """The platforms that a user has named, if JAX finds no device of them; else ""."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    try:
        if platforms and "jax" in sys.modules:
            sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return platforms
    return ""


def _interrupt(number: int, frame: Any) -> None:
    """Raises KeyboardInterrupt; a moment later where Python would print and forget it, as in JAX's callback of gc."""
    if any(each.f_code.co_name == "_xla_gc_callback" for each, _ in traceback.walk_stack(frame)):
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        signal.default_int_handler(number, frame)


def run(main: Main) -> NoReturn:
    """Ends the process with the status of `main`, called with the command line's arguments."""
    compilation.keep()
    memory.keep()
    interrupts.own_process()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    sys.exit(status(lambda: main(sys.argv[1:])))
