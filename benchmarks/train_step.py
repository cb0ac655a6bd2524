"""Training on CPU against PyTorch, in turn: the whole loop of train.py, its compiled step alone, and the twins in both
layouts, eager and by torch.compile, each of them in a process of its own.

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.train_step
"""

import argparse
import contextlib
import functools
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import rows, turns
from vqjax.runs import devices
from vqjax.system import memory

TWINS = {  # the opponent: its ways, of which the faster counts
    "eager": [{"channels_last": False}, {"channels_last": True}],
    "compiled": [{"channels_last": False, "compiled": True}, {"channels_last": True, "compiled": True}],
}


def measure(name: str, batch_size: int, place: Path, rounds: int, seconds_of_round: float) -> dict[str, list[float]]:
    """{what: seconds per step, round by round}; of PyTorch's ways those that it can be made in."""
    config = rows.prepared(rows.ROWS[name], place, batch_size)
    step = rows.Stepper(config)
    twin = functools.partial(rows.twin_of, name, step.batch, config.optimizer.name == "amsgrad")
    others = {"the step alone": step}
    with contextlib.ExitStack() as stack:
        for opponent, ways in TWINS.items():
            for number, way in enumerate(ways):
                try:
                    side = turns.Apart(functools.partial(twin, **way))
                    stack.callback(side.close)
                    side(2)
                except RuntimeError as error:
                    print(f"{name}, {opponent}, {way}: {str(error)[:200]}", file=sys.stderr)
                    continue
                others[f"{opponent} {number}"] = side
        return turns.in_turn(config, others, place, rounds, seconds_of_round)


def line(name: str, batch_size: int, found: dict[str, list[float]]) -> str:
    """A row of the table."""
    ours = found["vqjax"]
    beyond = [a / b - 1 for a, b in zip(ours, found["the step alone"])]
    cells = [f"{1e3 * statistics.median(found[way]):.1f}" for way in ("vqjax", "the step alone")]
    for opponent in TWINS:
        ways = [way for way in found if way.startswith(opponent)]
        if not ways:
            cells += ["", ""]
            continue
        best = min(ways, key=lambda way: statistics.median(found[way]))
        ratios = [b / a for a, b in zip(ours, found[best])]
        cells += [f"{1e3 * statistics.median(found[best]):.1f}"]
        cells += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
    return f"| {name}, {batch_size} | {' | '.join(cells)} | {statistics.median(beyond):.1%} |"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    arguments.add_argument("--rows", nargs="+", choices=rows.ROWS, default=list(rows.ROWS))
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=2.0, help="of a round, about")
    return arguments


def main() -> None:
    arguments = parser().parse_args()
    sizes = [size for name in arguments.rows for size in rows.ROWS[name].batch_sizes]
    memory.retain_freed_memory()  # as train.py does; PyTorch gains from it, too
    devices.set_cpu_device_count(*sizes)
    print(rows.described())
    print(
        "| run, batch | train.py, ms a step | its step alone | PyTorch, eager | its time / ours (range) "
        "| torch.compile | its time / ours (range) | beyond the step |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        for name in arguments.rows:
            for size in rows.ROWS[name].batch_sizes:
                found = measure(name, size, Path(place), arguments.rounds, arguments.seconds)
                print(line(name, size, found), flush=True)


if __name__ == "__main__":
    main()
