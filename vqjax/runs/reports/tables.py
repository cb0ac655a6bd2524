"""Tables of figures and texts, in Markdown and CSV."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqjax.system.files import atomic_write
from vqjax.system.text import printable

_MARKUP = re.compile(r"[\\`|<$*]")


def format_cell(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:#.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def escape_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, in one line."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown of texts, which are shown as they are, without a newline at its end."""
    lines = [[escape_markdown(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code_block(text: str) -> str:
    """Return Markdown that shows lines of text in a fixed font."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    lines = "\n".join(map(printable, text.splitlines()))
    return f"{fence}\n{lines}\n{fence}"


def write_markdown(path: Path, text: str) -> None:
    """Write a Markdown file. Raises WriteError."""
    with atomic_write(path) as temporary:
        temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows {column: value} as CSV with a header; a column that a row lacks is empty. Raises WriteError."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: printable(v) if isinstance(v, str) else v for name, v in row.items()})
