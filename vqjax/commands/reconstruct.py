"""Encodes and decodes images of any size: `vqjax reconstruct --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.system import arguments
from vqjax.system.arguments import Parser
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Encode and decode images of any size with a trained autoencoder."
    flags = Parser("reconstruct", "runs/photos photo.jpg --out both.png", description=description)
    flags.add_workdir("an autoencoder's run", files="image")
    text = "a picture of originals and results (default: reconstructed.png in the workdir), or a table, .csv"
    flags.add_argument("--out", metavar="PATH", help=text)
    text = "png: a file per image, in the directory --out (default: reconstructed in the workdir)"
    flags.add_argument("--format", choices=("png",), default="", metavar="FORMAT", help=text)
    arguments.add_step(flags)
    arguments.add_output_flags(flags)
    return flags


def run(given: Any) -> Report:
    """Reconstruct the images and write them."""
    with starting_jax():
        from vqjax import Tokenizer

    tokenizer = Tokenizer.load(given.workdir, given.step)
    path, rows = tokenizer.reconstruct_files(given.images, given.out, given.format)
    lines = [
        f"{row.file}: {row.width} x {row.height} pixels, {row.bits_per_pixel:.3f} bits per pixel, "
        f"PSNR {row.psnr:.2f} dB, SSIM {row.ssim:.3f}"
        for row in rows
    ]
    values = {"images": [row._asdict() for row in rows], "written": [str(path)]}
    return Report([*map(printable, lines), f"written to {printable(str(path))}"], values)
