"""Errors in what a user gave, and suggestions for misspelt names."""

import difflib
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Something that was given is wrong: commands show it without a traceback, before they compile or write."""


def nearest(name: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """' Did you mean "X"?' for a misspelt name, or nothing when no known name is close; X is shown as `show` has it."""
    folded = {each.casefold(): each for each in known}
    match = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f' Did you mean "{show(folded[match[0]])}"?' if match else ""
