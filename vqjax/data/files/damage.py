"""Damaged files: what a reader says of one, as an InputError of one line."""

import contextlib
from collections.abc import Iterator

from vqjax.system.errors import InputError
from vqjax.system.text import printable


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, or its type if that is empty."""
    return printable(str(error).strip().partition("\n")[0]) or type(error).__name__


@contextlib.contextmanager
def refuse_damage(what: str, hint: str = "") -> Iterator[None]:
    """Turn any exception of a reader into an InputError: `what`, the reason, and in a second line a `hint`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # readers fail in any way on damaged and hostile files
        raise InputError(f"{what}: {first_line(error)}" + f"\n{hint}" * bool(hint)) from error
