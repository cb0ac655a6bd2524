"""Draws images from a trained prior: `vqjax sample --help`."""

from typing import Any

from vqjax.commands.report import Report, written
from vqjax.system import arguments
from vqjax.system.arguments import Parser, number, whole_number
from vqjax.system.terminal import starting_jax


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    example = "runs/digits_prior --num 20 --classes 3,8 --temperature 0.9"
    flags = Parser("sample", example, description="Draw images from a trained prior.")
    flags.add_workdir("a prior's run")
    flags.add_argument("--num", type=whole_number, default=80, metavar="N", help="of images (default: 80)")
    flags.add_argument("--classes", help="names or numbers with commas between, to cycle over (default: all)")
    flags.add_argument("--seed", type=whole_number, default=0, metavar="N", help="same seed, same images (default: 0)")
    flags.add_argument("--batch", type=whole_number, default=64, metavar="N", help="images at a time (default: 64)")
    flags.add_argument("--temperature", type=number, default=1.0, metavar="X", help="divides the logits (default: 1)")
    flags.add_argument("--top_k", type=whole_number, default=0, metavar="N", help="draw among the N likeliest codes")
    text = "draw among the codes with this probability together"
    flags.add_argument("--top_p", type=number, default=1.0, metavar="X", help=text)
    flags.add_argument("--neighbors", action="store_true", help="put the nearest training image below each sample")
    text = "grid: a picture, and an .npz beside it (default); png: a file per image"
    flags.add_argument("--format", choices=("grid", "png"), default="grid", metavar="FORMAT", help=text)
    text = "the picture, or the directory of png (default: samples.png, or samples, in the workdir)"
    flags.add_argument("--out", metavar="PATH", help=text)
    arguments.add_step(flags)
    arguments.add_stage1(flags)
    arguments.add_data_flags(flags)
    arguments.add_output_flags(flags)
    return flags


def run(given: Any) -> Report:
    """Draw and write the images."""
    with starting_jax():
        from vqjax import Prior
        from vqjax.runs.devices import set_cpu_device_count

    set_cpu_device_count()
    options = {name: getattr(given, name) for name in ("seed", "batch", "temperature", "top_k", "top_p")}
    options["classes"] = given.classes.split(",") if given.classes else None
    data = {"data_dir": given.data_dir, "data_path": given.data_path}
    prior = Prior.load(given.workdir, given.step, given.stage1)
    return written(prior.sample_files(given.num, given.out, given.format, given.neighbors, **data, **options))
