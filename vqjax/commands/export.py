"""Writes codes, weights and programs for other software: `vqjax export --help`."""

from pathlib import Path
from typing import Any

from vqjax.commands.report import Report
from vqjax.system import arguments
from vqjax.system.arguments import Parser
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    example = "codes runs/digits --split all --out digits_codes"
    flags = Parser("export", example, description="Write what other software can read.")
    kinds = flags.add_subparsers(dest="kind", required=True, metavar="codes | tokenizer | classifier")
    codes = kinds.add_parser("codes", help="the codes of a split, for NumPy, nanoGPT or `datasets`")
    codes.add_workdir("an autoencoder's run")
    text = "numpy, parquet or nanogpt (default: numpy)"
    formats = ("numpy", "parquet", "nanogpt")
    codes.add_argument("--format", choices=formats, default="numpy", metavar="FORMAT", help=text)
    arguments.add_split(codes, "train; nanogpt has its own two", "all")
    codes.set_defaults(split=None)
    codes.add_argument("--out", required=True, metavar="DIR", help="new, empty, or with other splits of the same run")
    arguments.add_step(codes)
    arguments.add_data_flags(codes)
    arguments.add_output_flags(codes)
    for name, whose in (("tokenizer", "an autoencoder"), ("classifier", "a classifier")):
        kind = kinds.add_parser(name, help=f"{whose}: its weights, and programs that run without vqjax")
        kind.add_workdir(f"{whose}'s run")
        kind.add_argument("--out", required=True, metavar="DIR", help="new or empty")
        arguments.add_step(kind)
        arguments.add_output_flags(kind)
    arguments.add_stage1(kinds.choices["classifier"])
    return flags


def run(given: Any) -> Report:
    """Write the files."""
    with starting_jax():
        from vqjax import Classifier, Tokenizer

    if given.kind == "codes":
        tokenizer = Tokenizer.load(given.workdir, given.step)
        return _report(tokenizer.export_codes(given.out, given.split, given.format, given.data_dir, given.data_path))
    if given.kind == "classifier":
        return _report(Classifier.load(given.workdir, given.step, given.stage1).export(given.out))
    return _report(Tokenizer.load(given.workdir, given.step).export(given.out))


def _report(directory: Path) -> Report:
    """Return the files of a directory with their sizes."""
    sizes = {str(path): path.stat().st_size for path in sorted(directory.iterdir())}
    return Report([f"{printable(path)}: {size:,} bytes" for path, size in sizes.items()], {"written": sizes})
