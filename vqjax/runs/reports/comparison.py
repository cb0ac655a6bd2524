"""Several runs side by side, made of the files in their workdirs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax import traverse_util

from vqjax.runs import plots
from vqjax.runs.reports.lines import read_lines
from vqjax.runs.reports.tables import format_cell, markdown_table, write_markdown
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import read_json, wrap_write_errors
from vqjax.system.paths import absolute_path

_PLOTTED = ("accuracy", "nats_per_code", "psnr", "loss")  # the first one that all runs have


def compare_runs(workdirs: Sequence[str], out: str) -> str:
    """Write comparison.md and, of a figure that all runs have, comparison.png.

    Args:
      workdirs: of two evaluated runs or more.
      out: a directory, made if it is not there.

    Returns:
      The table of comparison.md: in which fields the configs differ, and the figures.

    Raises:
      InputError: fewer than two runs, or one that is not there or not evaluated yet.
      WriteError: the directory cannot be written to.
    """
    directory = absolute_path(out, "--out")
    runs = {name: Workdir(path, "run") for name, path in _named_paths(workdirs).items()}
    if len(runs) < 2:
        raise InputError(f"{', '.join(workdirs) or 'no run'}: expected two runs or more, each once")
    figures = {name: _figures(run) for name, run in runs.items()}
    text = _table(runs, figures)
    with wrap_write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    _plot(picture := directory / "comparison.png", runs, figures)
    shown = f"\n\n![{picture.name}]({picture.name})" if picture.is_file() else ""
    write_markdown(directory / "comparison.md", f"{text}{shown}")
    return f"{text}\n"


def _named_paths(workdirs: Sequence[str]) -> dict[str, str]:
    """Return the paths, each once, by names that tell them apart: their last parts, or all of them."""
    paths = list(dict.fromkeys(os.path.normpath(path) for path in workdirs))
    names = [os.path.basename(path) for path in paths]
    return dict(zip(names if len({*names}) == len(names) else paths, paths))


def _figures(run: Workdir) -> dict[str, Any]:
    """Return the numbers of eval.json."""
    run.raw_config()  # refuses what is no run
    try:
        content = read_json(run.path / "eval.json")
        return {name: value for name, value in content.items() if isinstance(value, int | float)}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{run.path}: expected a run that has been evaluated, eval.json cannot be read") from error


def _table(runs: Mapping[str, Workdir], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each field in which the configs differ, and for each figure."""
    flat = [traverse_util.flatten_dict(run.raw_config(), sep=".") for run in runs.values()]
    keys = dict.fromkeys(key for fields in flat for key in fields)
    differing = [key for key in keys if len({repr(fields.get(key)) for fields in flat}) > 1]
    rows = [[f"config.{key}", *(format_cell(fields.get(key, "")) for fields in flat)] for key in differing]
    names = dict.fromkeys(name for numbers in figures.values() for name in numbers)
    rows += [[name, *(format_cell(numbers.get(name, "")) for numbers in figures.values())] for name in names]
    return markdown_table(["", *runs], rows)


def _plot(path: Path, runs: Mapping[str, Workdir], figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the first figure that all runs have, on the split that a run is watched on, against the step.

    Without one nothing lies at the path.
    """
    plotted = next((name for name in _PLOTTED if all(name in numbers for numbers in figures.values())), None)
    if plotted is None:
        with wrap_write_errors(path):
            path.unlink(missing_ok=True)  # of an earlier comparison
        return
    curves = {}
    for name, run in runs.items():
        lines = [line for line in read_lines(run.path / "metrics.jsonl") if line["split"] != "train"]
        curves[name] = [(line["step"], line[plotted]) for line in lines if line.get(plotted) is not None]
    plots.save_runs(path, curves, plotted)
