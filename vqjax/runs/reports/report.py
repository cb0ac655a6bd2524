"""report.md: a run on one page, made of the files in its workdir."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from vqjax.config.plain import format_config
from vqjax.runs.reports.features import features_section
from vqjax.runs.reports.likelihood import likelihood_section
from vqjax.runs.reports.lines import read_lines
from vqjax.runs.reports.tables import code_block, escape_markdown, format_cell, markdown_table, write_markdown
from vqjax.runs.side_jobs import side_job
from vqjax.runs.workdir import Workdir
from vqjax.system.files import read_json


@side_job("report.md is not written")
def write_report(workdir: Workdir) -> None:
    """Write report.md of an evaluated run: figures, pictures, config, and how it was made.

    Raises WriteError if the workdir cannot be written to; any other failure costs a line.
    """
    path, run, figures = workdir.path, workdir.facts(), read_json(workdir.path / "eval.json")
    config = workdir.raw_config()
    pictures = sorted(file.name for file in path.iterdir() if file.suffix in (".png", ".gif"))
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float) and name != "step"}
    made = _describe_making(workdir, run, figures)
    sections = [
        f"# {escape_markdown(path.name)}",
        f"{config['task']} on {escape_markdown(run['dataset'])}, {figures['split']} split, step {figures['step']:,}",
        markdown_table(["figure", "value"], [[name, format_cell(value)] for name, value in numbers.items()]),
        *likelihood_section(config, run, figures),
        *features_section(path, figures["step"]),
        *(f"![{escape_markdown(name)}]({quote(name, errors='surrogateescape')})" for name in pictures),
        markdown_table(["", ""], made.items()),
        *([code_block(run["command"])] if run.get("command") else []),
        code_block(format_config(config)),
    ]
    write_markdown(path / "report.md", "\n\n".join(sections))


def _describe_making(workdir: Workdir, run: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, str]:
    """Return what was trained on what, and with what."""
    seconds = sum(line["seconds"] for line in read_lines(workdir.path / "timing.jsonl"))
    steps = max([line["step"] for line in read_lines(workdir.path / "metrics.jsonl")], default=figures["step"])
    which = "the last" if figures["step"] == steps else "the best on validation"
    images = run.get("images") or run.get("sizes", {})  # imported weights were trained elsewhere, on all of train
    return {
        "training": f"{seconds / 60:.1f} min, {steps:,} of {workdir.raw_config()['steps']:,} steps",
        "evaluated": f"the checkpoint of step {figures['step']:,}, {which}",
        "data": ", ".join([run["dataset"], *(f"{count:,} {name}" for name, count in images.items())]),
        "commit": run.get("git_commit") or "unknown",
        "versions": ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
    }
