"""Tables as CSV."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vqjax.data.formats.paths import escape_path
from vqjax.system.files import atomic_write


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows, which may be made while they are written. Text is escaped as paths of images are."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(_cell, header))
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    return escape_path(value) if isinstance(value, str) else value
