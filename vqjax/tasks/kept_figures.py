"""Figures that take long to measure, kept in a JSON file beside what they are of."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqjax.runs.devices import processes
from vqjax.system.files import read_json, write_json


def kept_figure(path: Path, name: str, of: Any, measure: Callable[[], float]) -> float:
    """Return a figure that was measured before, or measure it and keep it.

    Args:
      path: of the file, which may not be there yet, or be another's and not writable.
      name: of the figure.
      of: JSON value that tells what was measured from all else; a figure of another one is measured again.
      measure: gives the figure.
    """
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = read_json(path)
    with contextlib.suppress(KeyError, TypeError):
        if kept[name]["of"] == of:
            return float(kept[name]["figure"])
    figure = measure()
    if processes.is_leader():
        with contextlib.suppress(OSError):
            write_json(path, {**(kept if isinstance(kept, dict) else {}), name: {"of": of, "figure": figure}})
    return figure
