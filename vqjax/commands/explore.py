"""Writes a page that shows the codes of a run in a browser: `vqjax explore --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.system import arguments
from vqjax.system.arguments import Parser, whole_number
from vqjax.system.errors import InputError
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Write a page that shows the codes of a run, one file for any browser."
    flags = Parser("explore", "runs/digits --out digits.html", description=description)
    flags.add_workdir("the run of an autoencoder or of a prior")
    flags.add_argument("--out", metavar="FILE", help="the page (default: explore.html in the workdir)")
    text = "number of images, and of samples of a prior (default: 64)"
    flags.add_argument("--num", type=whole_number, default=64, metavar="N", help=text)
    arguments.add_split(flags, "test")
    arguments.add_step(flags)
    arguments.add_stage1(flags)
    arguments.add_data_flags(flags)
    arguments.add_output_flags(flags)
    return flags


def run(given: Any) -> Report:
    """Write the page."""
    with starting_jax():
        import vqjax

    model = vqjax.load(given.workdir, given.step, given.stage1)
    if isinstance(model, vqjax.Classifier):
        name, expected = model.config.task, "'autoencoder' or 'prior'"
        raise InputError(f"--workdir={given.workdir} holds a run of task {name!r}, expected {expected}")
    page = model.explore(given.out, given.num, given.split, given.data_dir, given.data_path)
    size = page.stat().st_size
    line = f"written to {printable(str(page))} ({size / 1e6:.1f} MB): open it in a browser"
    return Report([line], {"written": [str(page)], "bytes": size})
