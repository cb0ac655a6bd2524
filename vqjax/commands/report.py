"""Reports: the results of commands, as lines for a person or as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vqjax.system.files import to_json
from vqjax.system.text import printable


class Report(NamedTuple):
    """Result of a command.

    Attributes:
      lines: for a person.
      values: the same as JSON can hold it.
      status: exit status of the command.
    """

    lines: Sequence[str]
    values: Any
    status: int = 0

    def to_json(self) -> str:
        """Return the values as JSON text."""
        return to_json(self.values, indent=2)


def written(paths: Sequence[Path], **values: Any) -> Report:
    """Return the report of a command whose result is files."""
    shown = [printable(str(path)) for path in paths]
    return Report([f"written to {' and '.join(shown)}"], {**values, "written": [str(path) for path in paths]})
