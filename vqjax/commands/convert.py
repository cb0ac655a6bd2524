"""Imports published weights as a run: `vqjax convert --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.system.arguments import Parser, add_output_flags, number
from vqjax.system.terminal import starting_jax

CIFAR10_VARIANCE = 0.0633  # of the training pixels, in [0, 1]


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Make a run of weights that another program has published."
    arguments = Parser("convert", "vq-vae-images model_ema.pth --out runs/published", description=description)
    arguments.add_argument("source", help="the program that the weights are of: vq-vae-images")
    arguments.add_argument("file", help="the weights, as torch.save writes a state_dict; nothing in it is executed")
    arguments.add_argument("--out", required=True, metavar="DIR", help="workdir of the run, new or empty")
    text = f"of the training pixels in [0, 1], for the loss (default: {CIFAR10_VARIANCE}, CIFAR-10's)"
    arguments.add_argument("--variance", type=number, default=CIFAR10_VARIANCE, metavar="X", help=text)
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Write the run."""
    with starting_jax():
        from vqjax.training.import_weights import import_weights

    workdir = import_weights(given.source, given.file, given.out, given.variance)
    paths = sorted(workdir.path.iterdir())
    return Report(
        [f"in {workdir.path}: {', '.join(path.name for path in paths)}"], {"written": [str(path) for path in paths]}
    )
