"""What the commands share: how they are called, and how they end, with a status and without a traceback."""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vqjax.system import compilation, memory, signals
from vqjax.system.errors import InputError, WorkerError
from vqjax.system.files import WriteError

# What is wrong with a place, not with the program.
_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)),
)
OUTPUT_UNREAD = 128 + 13  # the status where nobody reads any more what is printed, as of a program that SIGPIPE ends
Main = Callable[[Sequence[str]], int | None]  # arguments, less the command's name -> the exit status, None being 0


def exit_status(main: Callable[[], int | None]) -> int:
    """What `main` returns, None being 0; 2 after an InputError, or an OSError that is of a place, and not the program's
    fault, which are shown; 1 after a WorkerError, which is shown too; 130 if Ctrl-C stopped it; UNREAD.

    Whatever it writes must appear whole or not at all.
    """
    try:
        returned = main() or 0
        sys.stdout.flush()
        return returned
    except (InputError, WriteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return OUTPUT_UNREAD
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


def run_command(main: Main) -> NoReturn:
    """Ends the process with the status of `main`, called with the command line's arguments."""
    compilation.enable_compilation_cache()
    memory.retain_freed_memory()
    signals.allow_exit()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
