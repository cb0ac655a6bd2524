"""Records an Atari game as clips: `python -m vqjax record --help`."""

from collections.abc import Sequence

from vqjax.config.annotations import Natural, Positive
from vqjax.config.check import check_value
from vqjax.config.schema import parse_size
from vqjax.system.arguments import parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax record --game boxing --out boxing"
    flags = parser("record", "Record an Atari game, played at random, as clips of frames.", example)
    flags.add_argument("--game", default="boxing", help="a name of ale-py's (default: boxing)")
    flags.add_argument("--out", required=True, help="a directory, for train.npz and test.npz")
    flags.add_argument("--clips", type=int, default=600, help="of train; test has one episode more (default: 600)")
    flags.add_argument("--frames", type=int, default=8, help="of a clip, 15 a second (default: 8)")
    flags.add_argument("--seed", type=int, default=0, help="same seed, same clips (default: 0)")
    flags.add_argument("--size", default="84x64", help="of a frame, HxW or one number (default: 84x64)")
    given = flags.parse_args(arguments)
    for name, kind in (("clips", Positive), ("frames", Positive), ("seed", Natural)):
        check_value(getattr(given, name), kind, f"--{name}")
    given.size = parse_size(given.size or "84x64", "--size")

    from vqjax.data.recording import record  # NumPy starts here, after the arguments are known to be right

    counts = record(**vars(given))
    print(f"in {given.out}: " + ", ".join(f"{count:,} {name} clips" for name, count in counts.items()))
