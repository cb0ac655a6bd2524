"""Trains runs that are compared with each other, and makes their table: `python -m vqjax ablate --help`."""

from collections.abc import Sequence

from vqjax.config.annotations import Positive
from vqjax.config.check import check_value
from vqjax.config.flags import parse_flags


def main(arguments: Sequence[str]) -> int:
    given = parse_flags(
        arguments,
        "ablate",
        "Train the rows of a config, each in its own workdir, and compare them. A row is the config of a run.",
        "python -m vqjax ablate --config ablation/digits --config.codes.steps=1000",
        {"seeds": (1, "train each row so many times, with seeds 0, 1, … (default: 1, the row's own seed)")},
    )

    from vqjax.training.ablation import ablate  # JAX starts here, after the flags are known to be right

    check_value(given.options["seeds"], Positive, "--seeds")
    return ablate(given.config, given.workdir, int(given.options["seeds"]))
