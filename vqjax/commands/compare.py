"""Shows runs side by side: `python -m vqjax compare --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import parser


def main(arguments: Sequence[str]) -> None:
    example = "python -m vqjax compare runs/digits runs/wide --out runs/comparison"
    flags = parser("compare", "Show where the configs of runs differ, and their figures.", example)
    flags.add_argument("runs", nargs="+", metavar="run", help="a workdir")
    flags.add_argument("--out", default="comparison", help="a directory (default: comparison)")
    given = flags.parse_args(arguments)

    from vqjax.runs.reports.comparison import (
        compare_runs,  # pyplot starts here, after the arguments are known to be right
    )

    print(f"{compare_runs(given.runs, given.out)}\nin {given.out}: comparison.md, comparison.png")
