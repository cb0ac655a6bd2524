"""Turns codes into images: `vqjax decode --help`."""

from pathlib import Path
from typing import Any

from vqjax.commands.report import Report
from vqjax.system import arguments
from vqjax.system.arguments import Parser
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Turn codes in a file, from any program, into images, with a trained autoencoder."
    flags = Parser("decode", "runs/digits --codes codes.npy --out pictures", description=description)
    flags.add_workdir("an autoencoder's run")
    text = ".npy (N, h, w), .npz, .bin or .parquet, or a directory of `export codes`"
    flags.add_argument("--codes", required=True, metavar="PATH", help=text)
    flags.add_argument("--out", required=True, metavar="DIR", help="new or empty")
    text = "npy: images.npy, and images.png of the first 64 (default); png: a file per image"
    flags.add_argument("--format", choices=("npy", "png"), default="npy", metavar="FORMAT", help=text)
    text = "decode only these levels, the first ones: top (default: all)"
    flags.add_argument("--levels", metavar="LEVELS", help=text)
    text = "decode only the first D codes of each position (default: all)"
    flags.add_argument("--depth", type=arguments.whole_number, metavar="D", help=text)
    arguments.add_split(flags, "the only one, of codes in a directory")
    flags.set_defaults(split=None)
    arguments.add_step(flags)
    arguments.add_output_flags(flags)
    return flags


def run(given: Any) -> Report:
    """Decode and write the images."""
    with starting_jax():
        from vqjax import Tokenizer

    tokenizer = Tokenizer.load(given.workdir, given.step)
    levels = given.levels.split(",") if given.levels else None
    count = tokenizer.decode_file(given.codes, given.out, given.split, given.format, levels, given.depth)
    files = {"npy": f"images.npy ({count:,}), images.png", "png": f"{count:,} images"}[given.format]
    line = f"in {printable(given.out)}: {files}"
    return Report([line], {"images": count, "written": [str(Path(given.out))]})
