"""Runs that are compared with each other, one after another, and their table.

The config is {row: the config of a run}; a `stage1` that names an earlier row is that row's run. The same command again
resumes where the last one stopped. DIR has a workdir per row, table.md, table.csv, and plot.png of the figure that most
rows have. With several seeds a row is several runs: table.csv has a line for each, table.md their mean and range.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from vqjax import tasks
from vqjax.config.plain import to_plain, with_fields
from vqjax.config.schema import Data, Settings
from vqjax.data import datasets
from vqjax.runs import devices, plots
from vqjax.runs.reports.lines import read_lines
from vqjax.runs.reports.tables import format_cell, markdown_table, write_csv, write_markdown
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import read_json
from vqjax.tasks.base import Task
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.setup import Plan, plan

_SEED = "{}-seed{}"  # what a row's run with another seed than its own is called
COMPARED = ("accuracy", "top5", "mse", "nats_per_code", "nats_per_code_any_order", "bits_per_dim_of_images")
_BY_LEVEL = ("perplexity", "codes_used")  # of several levels or depths one for each, such as codes_used_top
FIGURES = (*COMPARED, *_BY_LEVEL, "parameters")  # of eval.json, for the table


def ablate(config: ConfigDict, directory: Path, seeds: int = 1) -> int:
    """Train the rows that are not finished, and write the table after each.

    Args:
      config: {row: the config of a run}.
      directory: has a workdir per row.
      seeds: each row is trained with the seeds 0 to that; 1: with its own.

    Returns:
      The exit status: 0, or that of the run which diverged or a signal stopped.

    Raises:
      InputError: before the first run starts, if a row cannot be built or its workdir holds another run.
    """
    rows, table = read_rows(config, seeds), []
    devices.set_cpu_device_count(*(row.get("batch_size") for row in rows.values()))
    rows = check_rows(rows, directory)
    for number, (name, row) in enumerate(rows.items(), 1):
        print(f"\n{name}, row {number} of {len(rows)}")
        with _row(name):
            status = loop.train(row, directory / name)
        if status:
            return status
        jax.clear_caches()  # the programs of a row are of no use to the next
        table.append(_result(name, directory / name))
        write_table(directory, table)
    print(f"\n{(directory / 'table.md').read_text(encoding='utf-8')}\nin {directory}: table.md, table.csv, plot.png")
    return 0


def read_rows(config: ConfigDict, seeds: int = 1) -> dict[str, dict[str, Any]]:
    """Return the rows' configs, plain; with several seeds all rows for each, on the stage 1 of the same seed.

    A row with its own seed keeps its name, so that more seeds go on from one.

    Raises InputError if there are no rows, or one is not the config of a run.
    """
    if not len(config):
        raise InputError("--config: expected a config with rows, {row: the config of a run}")
    for name, row in config.items():
        if not isinstance(row, ConfigDict):
            raise InputError(f"config.{name}: expected the config of a run, found {row!r}")
    rows = {name: to_plain(row) for name, row in config.items()}
    if seeds == 1:
        return rows

    def called(name: str, seed: int) -> str:
        return name if rows[name].get("seed") == seed else _SEED.format(name, seed)

    found = {}
    for seed in range(seeds):
        for name, row in rows.items():
            first = {"stage1": called(row["stage1"], seed)} if row.get("stage1") in rows else {}
            found[called(name, seed)] = with_fields(row, {"seed": seed, **first})
    return found


@contextlib.contextmanager
def _row(name: str) -> Iterator[None]:
    """Say what is wrong with a row with its name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"row {name!r}: {error}") from error


def check_rows(rows: Mapping[str, dict[str, Any]], directory: Path) -> dict[str, dict[str, Any]]:
    """Check rows as far as that is possible before any has run, and return them complete.

    Args:
      rows: {row: the plain config of a run}; a `stage1` may name an earlier row.
      directory: has a workdir per row.

    Raises:
      InputError: a row cannot be built, or its workdir holds another run.
    """
    if Workdir(directory).exists:
        raise InputError(f"--workdir={directory} holds a run: expected a directory for the rows' runs")
    plans: dict[str, Plan] = {}
    read: set[Data] = set()
    for name, row in rows.items():
        with _row(name):
            workdir, stage1, first = Workdir(directory / name), None, row.get("stage1")
            if first in rows and first not in plans:
                raise InputError(f"config.stage1={first}: that row must come before this one")
            if first in plans:
                row = {**row, "stage1": str((directory / first).absolute())}
                stage1 = _stage1(first, plans[first].settings, row["stage1"], workdir)
            plans[name] = plan(Settings.of(row), workdir, stage1)
            dataset = plans[name].dataset
            if dataset.data not in read:  # a set that is missing is better missed now than after hours
                datasets.read_split(dataset, "test")
                read.add(dataset.data)
    return {name: dict(planned.settings.plain) for name, planned in plans.items()}


def _stage1(name: str, settings: Settings, path: str, workdir: Workdir) -> Stage1 | None:
    """The stage 1 that an earlier row will be for a row in `workdir`; None if that has begun, on what is there.

    Raises InputError if the earlier row has other steps than the run that it was.
    """
    if not workdir.has_facts:
        return Stage1.planned(settings, path)
    if Workdir(path).raw_config()["steps"] != settings.steps:
        raise InputError(f"config.{name}.steps={settings.steps}: this row is trained on its codes already")
    return None


def _columns(task: Task) -> dict[str, Any]:
    """The choices of a run that tell it from others in a table."""
    model = task.settings.model.values
    columns = {"dataset": task.facts["dataset"], "task": task.settings.task}
    if task.stage1:
        columns["quantizer"] = task.stage1.settings.model.values["quantizer"]
    return columns | {name: model[name] for name in ("quantizer", "quantize", "inputs", "head") if name in model}


def _result(name: str, workdir: Path) -> dict[str, Any]:
    """Figures and choices of a finished run, for the table."""
    figures = read_json(workdir / "eval.json")
    task = tasks.load_task(Workdir(workdir))
    seconds = sum(line["seconds"] for line in read_lines(workdir / "timing.jsonl"))
    found = {key: figures[key] for key in _figures(figures) if figures[key] is not None}
    return {
        "row": name,
        **_columns(task),
        "seed": str(task.settings.seed),
        **found,
        "training minutes": f"{seconds / 60:.1f}",
    }


def _figures(names: Collection[str]) -> list[str]:
    """The figures for the table among names, in its order, with those of single levels."""
    return [name for figure in FIGURES for name in (figure, *_of_levels(figure, names)) if name in names]


def _of_levels(figure: str, names: Collection[str]) -> list[str]:
    """The names of a figure of single levels or depths."""
    return [name for name in names if name.startswith(f"{figure}_")] if figure in _BY_LEVEL else []


def write_table(directory: Path, rows: list[dict[str, Any]]) -> None:
    """Write table.md, table.csv and plot.png of rows {column: value}; a column that no row has is left out.

    A figure of several levels has a column for each in table.csv, and in table.md a cell with all of them.
    """
    given = dict.fromkeys(name for row in rows for name in row)
    choices = ["row", "dataset", "task", "quantizer", "quantize", "inputs", "head", "seed"]
    columns = [name for name in (*choices, *_figures(given), "training minutes") if name in given]
    write_csv(directory / "table.csv", columns, rows)
    names = [*choices, *FIGURES, "training minutes"]
    names = [name for name in names if name in given or _of_levels(name, given)]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        label = row["row"].removesuffix(_SEED.format("", row.get("seed")))
        groups.setdefault(label, []).append(row)
    lines = [[_cells(name, label, group) for name in names] for label, group in groups.items()]
    write_markdown(directory / "table.md", markdown_table([name.replace("_", " ") for name in names], lines))
    shown = max(COMPARED, key=lambda name: sum(name in row for row in rows))
    groups = {label: group for label, group in groups.items() if shown in group[0]}
    used = {label: _cells("codes_used", label, group) for label, group in groups.items()}
    labels = [f"{label}, {count} codes" if count else label for label, count in used.items()]
    values = [[row[shown] for row in group] for group in groups.values()]
    plots.save_comparison(directory / "plot.png", labels, values, f"test {shown}")


def _cells(name: str, label: str, group: list[dict[str, Any]]) -> str:
    """A cell of the table for the runs of a row: of a figure the mean, and from what to what it goes."""
    if name == "row":
        return label
    if levels := _of_levels(name, group[0]):
        named = {level: level.removeprefix(f"{name}_").replace("_", " ") for level in levels}
        return ", ".join(f"{text}: {_cells(level, label, group)}" for level, text in named.items())
    values = [row[name] for row in group if name in row]
    if len(group) == 1 or not values:
        return format_cell(group[0].get(name, ""))
    if _figures([name]) and len({*values}) > 1:
        return f"{sum(values) / len(values):#.4g} ({format_cell(min(values))} to {format_cell(max(values))})"
    return ", ".join(dict.fromkeys(map(format_cell, values)))
