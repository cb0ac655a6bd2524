"""Records an Atari game as clips: `vqjax record --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.config.annotations import Natural, Positive
from vqjax.config.check import check_value
from vqjax.config.schema import parse_size
from vqjax.system.arguments import Parser, add_output_flags, whole_number
from vqjax.system.errors import InputError


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Record an Atari game, played at random, as clips of frames."
    arguments = Parser("record", "--game boxing --out boxing", description=description)
    arguments.add_argument("--game", default="boxing", help="a game of ale-py (default: boxing)")
    arguments.add_argument("--out", required=True, metavar="DIR", help="directory for train.npz and test.npz")
    counts = {
        "num": (600, "clips of train; test has one episode more"),
        "frames": (8, "frames of a clip, 15 a second"),
        "seed": (0, "the same seed gives the same clips"),
    }
    for name, (default, text) in counts.items():
        help = f"{text} (default: {default})"
        arguments.add_argument(f"--{name}", type=whole_number, default=default, metavar="N", help=help)
    arguments.add_argument("--size", default="84x64", help="size of a frame, HxW or one number (default: 84x64)")
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Record the clips."""
    for name, kind in (("num", Positive), ("frames", Positive), ("seed", Natural)):
        check_value(getattr(given, name), kind, f"--{name}")
    size = parse_size(given.size, "--size")
    if size is None:
        raise InputError("--size: expected HxW or one number")

    from vqjax.data.recording import record

    counts = record(given.game, given.out, given.num, given.frames, given.seed, size)
    line = f"in {given.out}: " + ", ".join(f"{count:,} {name} clips" for name, count in counts.items())
    return Report([line], {"written": [given.out], "clips": counts})
