"""Compares runs: `vqjax compare --help`."""

from pathlib import Path
from typing import Any

from vqjax.commands.report import Report
from vqjax.system.arguments import Parser, add_output_flags
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable

_FILES = "comparison.md", "comparison.png"


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Compare runs: where their configs differ, their metrics and their curves."
    arguments = Parser("compare", "runs/digits runs/wide --out runs/comparison", description=description)
    arguments.add_argument("workdirs", nargs="+", metavar="workdir", help="two evaluated runs or more")
    arguments.add_argument("--out", default="comparison", metavar="DIR", help="default: comparison")
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Write the comparison."""
    with starting_jax():
        from vqjax.inference.base import read_metrics
        from vqjax.runs.reports.comparison import compare_runs

    table = compare_runs(given.workdirs, given.out)
    files = [name for name in _FILES if (Path(given.out).expanduser() / name).is_file()]
    lines = [table, printable(f"in {given.out}: {', '.join(files)}")]
    values = {
        "runs": {workdir: read_metrics(Path(workdir).expanduser()) for workdir in given.workdirs},
        "table": table,
        "written": [f"{given.out}/{name}" for name in files],
    }
    return Report(lines, values)
