"""Decodes the images of a config's data set once, into files that runs read as they are: `vqjax prepare --help`."""

from typing import Any

from vqjax.commands.report import Report, written
from vqjax.config.flags import ConfigParser
from vqjax.config.schema import Settings
from vqjax.system.arguments import add_output_flags
from vqjax.system.terminal import starting_jax


def parser() -> ConfigParser:
    """Return the parser of the command's arguments."""
    description = "Decode the images of a config's data set once. --config.data.name=prepared then reads them."
    example = "--config imagenet_vqgan --config.data.resized_crop=0 --out DIR"
    arguments = ConfigParser("prepare", description, example, workdir=False)
    arguments.add_argument("--out", required=True, metavar="DIR", help="new, empty, or one that is not finished")
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Write the images."""
    settings = Settings.of(given.config)
    with starting_jax():
        from vqjax.data.preparation import prepare
        from vqjax.tasks import complete

    dataset = complete(settings).dataset
    path = prepare(dataset, given.out, lambda name, done, count: print(f"{name}: {done:,} of {count:,}", flush=True))
    return written([path], sizes=dict(dataset.sizes), shape=[*dataset.shape])
