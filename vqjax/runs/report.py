"""report.md: a run on one page, made of the files in its workdir."""

from typing import Any

from vqjax.config.display import format_config
from vqjax.runs.workdir import Workdir
from vqjax.runs.writer import read_lines
from vqjax.system.files import atomic_write, read_json


def write_report(workdir: Workdir) -> None:
    """Writes report.md of an evaluated run: figures, pictures, config, and how it was made. Raises OSError."""
    path, run = workdir.path, read_json(workdir.path / "run.json")
    figures, config = read_json(path / "eval.json"), workdir.raw_config()
    pictures = sorted(each.name for each in path.iterdir() if each.suffix in (".png", ".gif"))
    seconds = sum(line["seconds"] for line in read_lines(path / "timing.jsonl"))
    made = {
        "command": f"`{run['command']}`" if "command" in run else "",
        "commit": run["git_commit"] or "",
        "training": f"{seconds / 60:.1f} min, {figures['step']:,} of {config['steps']:,} steps",
        "data": ", ".join([run["dataset"], *(f"{n:,} {name}" for name, n in run.get("sizes", {}).items())]),
        "versions": ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
    }
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float) and name != "step"}
    sections = (
        f"# {path.name}",
        f"{config['task']} on {run['dataset']}, {figures['split']} split, step {figures['step']:,}",
        markdown_table(["figure", "value"], [[name, format_cell(value)] for name, value in numbers.items()]),
        *(f"![{name}]({name})" for name in pictures),
        markdown_table(["", ""], [[name, value] for name, value in made.items() if value]),
        f"```\n{format_config(config)}\n```",
    )
    with atomic_write(path / "report.md") as temporary:
        temporary.write_text("\n\n".join(sections) + "\n")


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, without a newline at its end."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def format_cell(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return f"{value:#.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
