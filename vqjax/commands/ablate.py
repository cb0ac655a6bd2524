"""Trains runs to compare, and writes their table: `vqjax ablate --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.config.annotations import Positive
from vqjax.config.check import check_value
from vqjax.config.flags import ConfigParser
from vqjax.system.arguments import add_output_flags
from vqjax.system.terminal import starting_jax

_FILES = "table.md", "table.csv", "plot.png"


def parser() -> ConfigParser:
    """Return the parser of the command's arguments."""
    description = "Train the rows of a config, each in its own workdir, and compare them. A row is the config of a run."
    arguments = ConfigParser("ablate", description, "--config ablation/digits --config.codes.steps=1000", rows=True)
    text = "train each row N times, with seeds 0, 1, … (default: 1, the row's own seed)"
    arguments.add_options({"seeds": (1, text)})
    add_output_flags(arguments, progress_is_output=True)
    return arguments


def run(given: Any) -> Report:
    """Train the rows, and return the metrics of each."""
    check_value(given.seeds, Positive, "--seeds")
    with starting_jax():
        from vqjax.inference.base import read_metrics
        from vqjax.training.ablation import ablate, read_rows

    directory = given.workdir
    status = ablate(given.config, directory, given.seeds)
    rows = {name: read_metrics(directory / name) for name in read_rows(given.config, given.seeds)}
    files = [str(path) for path in (directory / name for name in _FILES) if path.is_file()]
    return Report([], {"status": status, "rows": rows, "written": files}, status)
