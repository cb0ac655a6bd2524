"""Summarizes the data set of a config, before anything is trained: `vqjax inspect --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.config.flags import ConfigParser
from vqjax.config.schema import Settings
from vqjax.system.arguments import add_output_flags
from vqjax.system.terminal import starting_jax, timed
from vqjax.system.text import printable


def parser() -> ConfigParser:
    """Return the parser of the command's arguments."""
    description = "Summarize the data set of a config: size, classes, speed, problems. Nothing is trained."
    arguments = ConfigParser("inspect", description, "--config folder --config.data.path=photos")
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Inspect the data, and return the summary."""
    settings = Settings.of(given.config)
    with starting_jax():
        from vqjax.training.inspection import inspect_data

    picture = given.workdir.with_name(f"{given.workdir.name}-data.png")
    with timed("looking at the data"):
        inspection = inspect_data(settings, picture)
    paths = [f"written to {printable(path)}" for path in inspection.written]
    return Report([*inspection.lines(), *paths], inspection._asdict())
