"""Draws, completes and scores images by a trained prior: `vqjax sample --help`."""

from typing import Any

from vqjax.commands.report import Report, written
from vqjax.system import arguments
from vqjax.system.arguments import Parser, number, whole_number
from vqjax.system.errors import InputError
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable

_DRAWING = "seed", "batch", "temperature", "top_k", "top_p", "steps"
_UNUSED = {  # flags that change nothing beside another
    "complete": ("neighbors",),
    "likelihood": ("num", "keep", "neighbors", "format", *_DRAWING),
}


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    example = "runs/digits_prior --num 20 --classes 3,8 --temperature 0.9"
    description = "Draw images from a trained prior; complete images, or score how likely they are."
    flags = Parser("sample", example, description=description)
    flags.add_workdir("a prior's run")
    _add_tasks(flags)
    _add_settings(flags)
    flags.add_argument("--neighbors", action="store_true", help="put the nearest training image below each sample")
    text = "grid: a picture, of samples with an .npz (default); png: a file per image"
    flags.add_argument("--format", choices=("grid", "png"), default="grid", metavar="FORMAT", help=text)
    text = "the picture, or the directory of png (default: in the workdir)"
    flags.add_argument("--out", metavar="PATH", help=text)
    arguments.add_step(flags)
    arguments.add_stage1(flags)
    arguments.add_data_flags(flags)
    arguments.add_output_flags(flags)
    return flags


def _add_tasks(flags: Parser) -> None:
    """Add what is to be done."""
    text = "number of images, or of completions of each image (default: 80, 4)"
    flags.add_argument("--num", type=whole_number, metavar="N", help=text)
    text = "names or numbers, 3,8: for samples, to cycle over (default: all); for completions, one per image, or one"
    flags.add_argument("--classes", metavar="NAMES", help=f"{text} for all (default: none)")
    text = "complete images in files or directories, or images of test by their numbers, 0,1,2"
    flags.add_argument("--complete", nargs="+", metavar="IMAGE", help=text)
    text = "the part of them to keep: upper, left, a box y0:y1,x0:x1 in pixels, or a picture, white where kept"
    flags.add_argument("--keep", default="upper", metavar="KEEP", help=f"{text} (default: upper)")
    text = "score such images instead of drawing: nats per code, bits per dimension, and a picture by position"
    flags.add_argument("--likelihood", nargs="+", metavar="IMAGE", help=text)


def _add_settings(flags: Parser) -> None:
    """Add how images are drawn."""
    flags.add_argument("--seed", type=whole_number, default=0, metavar="N", help="same seed, same images (default: 0)")
    flags.add_argument("--batch", type=whole_number, default=64, metavar="N", help="images at a time (default: 64)")
    flags.add_argument("--temperature", type=number, default=1.0, metavar="X", help="divides the logits (default: 1)")
    flags.add_argument("--top_k", type=whole_number, default=0, metavar="N", help="draw among the N likeliest codes")
    text = "draw among the likeliest codes of this total probability"
    flags.add_argument("--top_p", type=number, default=1.0, metavar="X", help=text)
    text = "how much the class counts: above 1 more than in training (default: 1)"
    flags.add_argument("--guidance", type=number, default=1.0, metavar="X", help=text)
    text = "draw the codes of an image in N steps, several at once (default: one by one)"
    flags.add_argument("--steps", type=whole_number, metavar="N", help=text)


def run(given: Any) -> Report:
    """Draw, complete or score images, and write them."""
    _check_flags(given)
    with starting_jax():
        from vqjax import Prior
        from vqjax.runs.devices import set_cpu_device_count

    set_cpu_device_count()
    prior = Prior.load(given.workdir, given.step, given.stage1)
    data = {"data_dir": given.data_dir, "data_path": given.data_path}
    classes = given.classes.split(",") if given.classes else None
    if given.likelihood:
        return _score(prior, given, classes, data)
    options = {name: getattr(given, name) for name in (*_DRAWING, "guidance")}
    if given.complete:
        num = 4 if given.num is None else given.num
        paths = prior.complete_files(
            given.complete, given.keep, classes, num, given.out, given.format, **data, **options
        )
    else:
        num = 80 if given.num is None else given.num
        paths = prior.sample_files(num, classes, given.out, given.format, given.neighbors, **data, **options)
    return _with_nats(written(paths), prior, given)


def _with_nats(report: Report, prior: Any, given: Any) -> Report:
    """Return the report with the nats that are to be expected of drawing several codes at once.

    They are those of the prior's own distribution, not of a guided one.
    """
    if given.steps is None or given.guidance != 1:
        return report
    known = prior.num_kept(given.keep) if given.complete else 0
    steps = prior.groups(given.steps, known)
    if steps.nats is None:
        return report
    after = f" after {known} known codes" if known else ""
    line = f"{given.steps} steps{after}: {steps.nats:.3f} nats per code are to be expected, {steps.one_by_one:.3f}"
    values = {"expected_nats_per_code": steps.nats, "expected_nats_per_code_one_by_one": steps.one_by_one}
    return Report([f"{line} one by one", *report.lines], {**report.values, **values})


def _check_flags(given: Any) -> None:
    """Raise InputError for flags that contradict each other, or change nothing."""
    if given.complete and given.likelihood:
        raise InputError("--complete and --likelihood: expected one of them")
    flags = parser()
    for task, names in _UNUSED.items():
        changed = [f"--{name}" for name in names if getattr(given, name) != flags.get_default(name)]
        if getattr(given, task) and changed:
            raise InputError(f"{', '.join(changed)}: expected nothing, it changes nothing with --{task}")
    if given.keep != flags.get_default("keep") and not given.complete:
        raise InputError("--keep: expected --complete, with the images that it is a part of")


def _score(prior: Any, given: Any, classes: Any, data: dict[str, Any]) -> Report:
    """Score images."""
    scores, paths = prior.likelihood_files(given.likelihood, classes, given.out, guidance=given.guidance, **data)
    report = written(paths, images=[score._asdict() for score in scores])
    lines = [f"{score.file}: {score.nats_per_code:.3f} nats per code, {_bits(score)}" for score in scores]
    if reason := prior.missing_bits:
        lines.append(f"the bits of the pixels are missing: {reason}")
    return Report([*map(printable, lines), *report.lines], report.values)


def _bits(score: Any) -> str:
    """Return the bits of an image, or those that are known."""
    of_codes = f"{score.bits_per_dim_of_codes:.4f}"
    if score.bits_per_dim_of_images is None:
        return f"{of_codes} bits per dimension of its codes"
    pixels = f"{score.bits_per_dim_given_codes:.4f}"
    return f"{score.bits_per_dim_of_images:.4f} bits per dimension: {of_codes} of its codes, {pixels} given them"
