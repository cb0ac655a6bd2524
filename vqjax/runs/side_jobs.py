"""Side jobs: pictures, plots, reports and trackers. One that fails costs a line, never the run."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec

from tqdm import tqdm

from vqjax.system.files import WriteError, wrap_write_errors
from vqjax.system.signals import Stopped
from vqjax.system.text import printable, shorten

_LENGTH = 300  # characters of a line
Arguments = ParamSpec("Arguments")


@contextlib.contextmanager
def side_job(result: str) -> Iterator[None]:
    """While entered, turn an error into a line of warning, which begins with what it means: "curves.png is not drawn".

    A full disk or a directory that cannot be written to stays an error, as does a signal. Usable as a decorator of
    functions that return nothing.
    """
    try:
        yield
    except (WriteError, Stopped):
        raise
    except Exception as error:
        warn(result, error)


def drawn(draw: Callable[Concatenate[Path, Arguments], None]) -> Callable[Concatenate[Path, Arguments], None]:
    """Make a function that draws a picture to a path a side job. Where it cannot be drawn, nothing lies there.

    The function raises WriteError if the path cannot be written to; what lay there stays.
    """

    @functools.wraps(draw)
    def draw_or_warn(path: Path, *arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        with side_job(f"{path.name} is not drawn"):
            try:
                draw(path, *arguments, **options)
            except WriteError:
                raise
            except Exception:
                with wrap_write_errors(path):
                    path.unlink(missing_ok=True)  # a picture of an earlier step would pass for one of this step
                raise

    return draw_or_warn


def warn(result: str, error: Exception) -> None:
    """Print a line of warning, above a progress bar if there is one."""
    reason = str(error).strip().partition("\n")[0]
    line = f"warning: {result}: {type(error).__name__}{reason and f': {reason}'}"
    tqdm.write(shorten(printable(line), _LENGTH))
