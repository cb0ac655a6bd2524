"""How long train.py makes one wait, in seconds after its start: with nothing that is compiled yet, and with all of it.

python -m benchmarks.start
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vqjax.system import cores

REPOSITORY = Path(__file__).resolve().parents[1]
MARKS = {  # what has happened -> how the line begins that says so first
    "first line": "",
    "step traced": "tracing the step",
    "first weights": "first weights",
    "first codes": "first codes",
    "step compiled": "compiling the step",
    "first logged step": "step ",
}


def waits(arguments: Sequence[str], cache: Path) -> dict[str, float]:
    """{mark: seconds} of a command, which is stopped after the last; `cache` is the user's cache directory."""
    found: dict[str, float] = {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=REPOSITORY,
        env={**environment, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        # The first line is seen as soon as it begins: JAX's start ends it.
        for line in itertools.chain([process.stdout.read(1)], process.stdout):
            now = time.perf_counter() - start
            found = {mark: now for mark, begins in MARKS.items() if line.startswith(begins)} | found
            if [*MARKS][-1] in found:
                process.kill()
                return found
    raise SystemExit("it ended before the first logged step")


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    arguments.add_argument("--config", default="digits")
    arguments.add_argument("--rounds", type=int, default=5)
    return arguments


def main() -> None:
    arguments = parser().parse_args()
    taken: dict[str, list[dict[str, float]]] = {"nothing compiled": [], "compiled": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as place:
            for cache, each in taken.items():
                run = ["--config", arguments.config, "--workdir", f"{place}/{cache}"]
                each.append(waits(run, Path(place, "cache")))
    print(f"{arguments.config}, medians of {arguments.rounds}, {cores.num_cores()} cores")
    print(f"| | {' | '.join(MARKS)} |\n| --- {'| --- ' * len(MARKS)}|")
    for cache, each in taken.items():
        cells = []
        for mark in MARKS:
            seconds = [found[mark] for found in each if mark in found]  # not all runs start from k-means
            cells.append(_spread(seconds) if seconds else "")
        print(f"| {cache} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
