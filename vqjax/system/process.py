"""The process of a command: its settings, its exit status, and errors in one line instead of a traceback."""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from vqjax.system import compilation, memory, signals, switches, terminal, text
from vqjax.system.errors import InputError, WorkerError
from vqjax.system.extras import install_hint
from vqjax.system.files import WriteError

# Errors of a path that the user can mend, not faults of the program.
_PATH_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)),
)
OUTPUT_UNREAD = 128 + 13  # the status of a program that SIGPIPE ends: nobody reads its output any more
Main = Callable[[Sequence[str]], int | None]  # arguments, without the command's name -> exit status, None being 0


def exit_status(main: Callable[[], int | None]) -> int:
    """Call `main` and return the exit status of the process.

    It is the result of `main` (None counts as 0); 2 after an InputError, an OSError that a user can mend, the lack of a
    package of an extra or JAX_PLATFORMS without a device, and 1 after a WorkerError, which are printed in a few lines;
    130 after Ctrl-C; OUTPUT_UNREAD, in silence, if nobody reads the output any more. Other errors are faults of the
    program, and keep their traceback. Whatever `main` writes must appear whole or not at all.
    """
    try:
        status = main() or 0
        sys.stdout.flush()
        return status
    except (InputError, WriteError) as error:
        return _refuse(str(error))
    except WorkerError as error:
        _refuse(str(error))
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _output_is_unread():
            return OUTPUT_UNREAD
        if error.errno not in _PATH_ERRORS or error.filename is None:
            raise
        return _refuse(f"{text.printable(str(error.filename))}: {error.strerror}")
    except KeyboardInterrupt:
        return 130
    except ImportError as error:
        if not (hint := install_hint(error)):
            raise
        return _refuse(hint)
    except (RuntimeError, AssertionError):
        if not (platforms := _platforms_without_device()):
            raise
        return _refuse(f"JAX_PLATFORMS={platforms}: JAX finds no such device; unset it to use what there is")


def _refuse(message: str) -> int:
    """Print an error, and return its exit status."""
    print(f"error: {text.printable_lines(message)}", file=sys.stderr)
    return 2


def _output_is_unread() -> bool:
    """Return whether nobody reads the output any more, as after `| head`. If so, further output is dropped."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        return True
    return False


def _platforms_without_device() -> str:
    """Return the platforms in JAX_PLATFORMS if JAX finds no device of them, else ""."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    try:
        if platforms and "jax" in sys.modules:
            sys.modules["jax"].devices()
    except (RuntimeError, AssertionError):
        return platforms
    return ""


def _interrupt(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt; inside JAX's callback of gc, where Python would print and forget it, a moment later."""
    if any(caller.f_code.co_name == "_xla_gc_callback" for caller, _ in traceback.walk_stack(frame)):
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        signal.default_int_handler(number, frame)


def run_command(main: Main) -> NoReturn:
    """End the process with the exit status of `main`, called with the command line's arguments."""
    terminal.escape_unencodable()
    switches.clear_environment()
    compilation.enable_compilation_cache()
    memory.retain_freed_memory()
    signals.allow_exit()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
