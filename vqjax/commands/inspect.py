"""Summarizes the data set of a config, before anything is trained: `vqjax inspect --help`."""

from typing import Any

from vqjax.config.flags import ConfigParser
from vqjax.system.terminal import printable, starting_jax


def parser() -> ConfigParser:
    """Return the parser of the command's arguments."""
    description = "Summarize the data set of a config: size, classes, speed, problems. Nothing is trained."
    return ConfigParser("inspect", description, "--config folder --config.data.path=photos")


def run(given: Any) -> None:
    """Print the summary line by line."""
    with starting_jax():
        from vqjax.training.inspection import inspect_data

    picture = given.workdir.with_name(f"{given.workdir.name}-data.png")
    for line in inspect_data(given.config, picture):
        print(printable(line), flush=True)
    print(f"written to {printable(str(picture))}")
