"""Training on CPU against PyTorch, in turn, in one process: the whole loop of train.py, its compiled step alone, and
the eager twin in both layouts.

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.train_step
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks import rows
from vqjax.runs import devices
from vqjax.system import memory


def measure(
    row: rows.Row, batch_size: int, place: Path, rounds: int, seconds_of_round: float
) -> dict[str, list[float]]:
    """{what: seconds per step, round by round}."""
    config = rows.prepared(row, place, batch_size)
    step = rows.Stepper(config, devices.devices_for_batch(batch_size))
    amsgrad = config.optimizer.name == "amsgrad"
    batch = step.batch
    others = {
        "the step alone": step,
        "torch": rows.Twin(row, batch, amsgrad, channels_last=False),
        "torch, channels last": rows.Twin(row, batch, amsgrad, channels_last=True),
    }
    return rows.in_turn(config, others, place, rounds, seconds_of_round)


def line(name: str, batch_size: int, found: dict[str, list[float]]) -> str:
    """A row of the table."""
    ours = found["vqjax"]
    theirs = min(("torch", "torch, channels last"), key=lambda way: statistics.median(found[way]))
    ratios = [b / a for a, b in zip(ours, found[theirs])]
    beyond = [a / b - 1 for a, b in zip(ours, found["the step alone"])]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    cells = [f"{1e3 * statistics.median(found[way]):.1f}" for way in ("vqjax", "the step alone", theirs)]
    ratio = f"{statistics.median(ratios):.2f} ({spread})"
    return f"| {name}, {batch_size} | {' | '.join(cells)} | {ratio} | {statistics.median(beyond):.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=rows.ROWS, default=list(rows.ROWS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round, about")
    arguments = parser.parse_args()
    sizes = [size for name in arguments.rows for size in rows.ROWS[name].batch_sizes]
    memory.retain_freed_memory()  # as train.py does; PyTorch gains from it, too
    devices.set_cpu_device_count(*sizes)
    print(rows.described())
    print(
        "| run, batch | train.py, ms a step | its step alone | torch | torch's time / ours (range) | beyond the step |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        for name in arguments.rows:
            for size in rows.ROWS[name].batch_sizes:
                found = measure(rows.ROWS[name], size, Path(place), arguments.rounds, arguments.seconds)
                print(line(name, size, found), flush=True)


if __name__ == "__main__":
    main()
