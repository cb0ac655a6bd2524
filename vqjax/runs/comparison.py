"""Several runs side by side, made of the files in their workdirs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flax import traverse_util

from vqjax.runs import plots
from vqjax.runs.report import format_cell, markdown_table
from vqjax.runs.workdir import Workdir
from vqjax.runs.writer import read_lines
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, read_json, wrap_write_errors
from vqjax.system.paths import absolute_path

_SHOWN = ("accuracy", "nats_per_code", "psnr", "loss")  # of the plot: the first that all runs have


def compare_runs(workdirs: Sequence[str], out: str) -> str:
    """Writes comparison.md and comparison.png.

    Args:
      workdirs: of two evaluated runs or more.
      out: a directory, made if it is not there.

    Returns:
      comparison.md: in which fields the configs differ, and the figures.

    Raises:
      InputError: fewer than two runs, or one that is not there or not evaluated yet.
      Unwritten: the directory cannot be written to.
    """
    directory = absolute_path(out, "--out")
    runs = {name: Workdir(path, "run") for name, path in zip(_names(workdirs), workdirs)}
    if len(runs) < 2:
        raise InputError(f"{', '.join(workdirs) or 'no run'}: expected two runs or more, each once")
    figures = {name: _figures(run) for name, run in runs.items()}
    configs = {name: traverse_util.flatten_dict(run.raw_config(), sep=".") for name, run in runs.items()}
    fields = list(dict.fromkeys(field for config in configs.values() for field in config))
    differing = [field for field in fields if len({repr(config.get(field)) for config in configs.values()}) > 1]
    rows = [
        [f"config.{field}", *(format_cell(config[field]) if field in config else "" for config in configs.values())]
        for field in differing
    ]
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    rows += [[name, *(format_cell(found.get(name, "")) for found in figures.values())] for name in names]
    text = markdown_table(["", *runs], rows) + "\n"
    with wrap_write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with atomic_write(directory / "comparison.md") as temporary:
        temporary.write_text(f"{text}\n![comparison.png](comparison.png)\n")
    _plot(directory / "comparison.png", runs, figures)
    return text


def _names(workdirs: Sequence[str]) -> list[str]:
    """What tells the paths apart: their last parts, or all of them."""
    paths = list(dict.fromkeys(os.path.normpath(path) for path in workdirs))
    short = [os.path.basename(path) for path in paths]
    return short if len({*short}) == len(short) else paths


def _figures(run: Workdir) -> dict[str, Any]:
    """The numbers of eval.json."""
    run.config()  # refuses what is no run
    try:
        found = read_json(run.path / "eval.json")
    except (OSError, ValueError) as error:
        raise InputError(f"{run.path}: expected a run that has been evaluated, eval.json cannot be read") from error
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _plot(path: Path, runs: dict[str, Workdir], figures: dict[str, dict[str, Any]]) -> None:
    """The first figure that all have, on the split that a run is watched on, against the step."""
    shown = next((name for name in _SHOWN if all(name in found for found in figures.values())), None)
    if shown is None:
        return
    curves = {}
    for name, run in runs.items():
        lines = [line for line in read_lines(run.path / "metrics.jsonl") if line["split"] != "train"]
        curves[name] = [(line["step"], line[shown]) for line in lines if line.get(shown) is not None]
    plots.save_runs(path, curves, shown)
