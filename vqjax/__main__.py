"""`python -m vqjax <command>`, and `vqjax <command>` where the package is installed."""

import gc
import importlib
from collections.abc import Sequence
from typing import Any, NoReturn

from vqjax.config.annotations import Natural
from vqjax.config.check import check_value
from vqjax.config.flags import parse_flags
from vqjax.system import process, signals
from vqjax.system.cluster import cluster_spec
from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.terminal import starting_jax

COMMANDS = {  # name -> what it does; each but `train` is a module of that name
    "train": "train what a config describes, or go on training it",
    "inspect": "show the data of a config: how much, of what, how fast, and what is odd",
    "sample": "draw images from a trained prior",
    "evaluate": "evaluate a run on its test split again",
    "predict": "tell the classes of image files, by a trained classifier",
    "explore": "write a page on which codes can be looked at",
    "decode": "make images of codes, by a trained autoencoder",
    "export": "write what a trained model has made, for other programs",
    "convert": "make a run of weights that another program has published",
    "reconstruct": "photographs through a trained autoencoder, whole",
    "record": "record an Atari game as clips of frames",
    "compare": "show runs side by side: their configs, figures and curves",
    "ablate": "train runs that are compared with each other, and make their table",
}

FLAGS: dict[str, tuple[int | bool | str, str]] = {  # of `train`, beside the config's
    "smoke": (False, "every phase of such a run in seconds, small, in a workdir that is removed"),
    "overfit": (0, "train on the first N images only, over and over: the loss must fall"),
    "profile": (0, "write a trace of N steps to the workdir, for Perfetto or TensorBoard"),
    "debug_nans": (False, "stop at the first step that is not finite, and name the operation"),
}
PROCESSES: dict[str, tuple[int | bool | str, str]] = {  # and those of each of several processes that train together
    "coordinator": ("", "HOST:PORT of the first of several processes that train together (docs/devices.md)"),
    "processes": (0, "how many they are"),
    "process": (-1, "the number of this one, from 0"),
    "distributed": (False, "all that as SLURM, Open MPI or Kubernetes says"),
}


def train(arguments: Sequence[str]) -> int:
    """The command; not a module, so that `vqjax.train` can be a function."""
    given = parse_flags(
        arguments,
        "train",
        "Train what a config describes. The same command again goes on from the latest checkpoint.",
        "python -m vqjax train --config digits --workdir runs/wide --config.model.deepmind.width=128",
        {**FLAGS, **PROCESSES},
    )
    options: Any = given.options
    alone = [f"--{name}" for name in ("smoke", "overfit", "profile") if options[name]]
    if len(alone) > 1:
        raise InputError(f"{' and '.join(alone)}: expected one of them")
    check_value(options["profile"], Natural, "--profile")

    where = cluster_spec(*(options[name] for name in PROCESSES))

    # The flags are right. Of several processes the first one says so, or each that a cluster has yet to number.
    with starting_jax(where is None or where.process < 1):
        from vqjax.runs import processes
        from vqjax.training import loop, trials

    def run() -> int:
        if signals.exit_allowed():
            gc.freeze()  # what is imported lives to the end: it need not be looked through again and again
        config, workdir, debug_nans = given.config, given.workdir, options["debug_nans"]
        if options["smoke"]:
            return trials.smoke(config, workdir, debug_nans)
        if options["overfit"]:
            return trials.overfit(config, workdir, options["overfit"], debug_nans)
        return loop.train(config, workdir, debug_nans, options["profile"])

    return processes.run(where, run)


def main(arguments: Sequence[str]) -> int | None:
    """Runs the command that is named first; without one, lists them."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m vqjax <command> [arguments]\n")
        print("".join(f"  {name:<13}{line}\n" for name, line in COMMANDS.items()))
        print("python -m vqjax <command> --help has the rest")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise InputError(f"{name!r} is no command.{did_you_mean(name, COMMANDS)}\nKnown: {', '.join(COMMANDS)}")
    return (train if name == "train" else importlib.import_module(f"vqjax.commands.{name}").main)(rest)


def entry() -> NoReturn:
    """The program `vqjax`."""
    process.run_command(main)


if __name__ == "__main__":
    entry()
