"""Where output goes: results to stdout, progress to stderr or nowhere."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


class _Stderr:
    """stderr as if it were no terminal: progress bars do not appear on it, errors do."""

    def __init__(self, stream: Any):
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed inside, and progress bars; errors still go to stderr."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        with contextlib.redirect_stderr(_Stderr(sys.stderr)):  # type: ignore[type-var]
            yield


def progress_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Send what is printed inside to stderr, so that stdout has nothing but the result that is printed afterwards."""
    return contextlib.redirect_stdout(sys.stderr)
