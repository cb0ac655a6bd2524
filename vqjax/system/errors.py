"""Errors in what a user gave, and suggestions for misspelled names."""

import difflib
from collections.abc import Callable, Iterable


class InputError(ValueError):
    """Wrong input. Commands show it without a traceback, before they compile or write anything.

    Each kind is made from its text alone.
    """


class WorkerError(RuntimeError):
    """Death of a process that worked for this one: commands show it without a traceback, and exit with status 1."""


RENAMED = {  # fields and values by the names that they had before 0.1.0 -> their names now
    "start": "init_from",
    "average": "ema_decay",
    "restart": "dead_code_threshold",
    "final": "final_learning_rate",
    "clip": "clip_norm",
    "enlarged": "oversize",
    "head": "head_width",
    "one": "pooled",
}


def did_you_mean(name: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """Return ' Did you mean "X"?' for a misspelled or former name, or "" if no known name is close.

    Args:
      name: the name that is not known.
      known: the known names.
      show: makes X of a known name.
    """
    known = list(known)
    if RENAMED.get(name) in known:
        return f' It is now called "{RENAMED[name]}".'
    folded = {candidate.casefold(): candidate for candidate in known}
    match = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f' Did you mean "{show(folded[match[0]])}"?' if match else ""
