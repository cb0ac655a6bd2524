"""Pins: the checkpoints of a run that second stages stand on. They are kept however far the run is trained on.

pins/<step>-<fingerprint>.json    {"runs": the workdirs of what was trained on it}
"""

from pathlib import Path

from vqjax.system.files import read_json, write_json


def pin(directory: Path, step: int, fingerprint: str, run: Path) -> None:
    """Pins the checkpoint of `step`, of that fingerprint, for the run in the workdir `run`. OSError if it cannot."""
    path = directory / f"{step}-{fingerprint}.json"
    try:
        runs = {*read_json(path)["runs"], str(run)}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged: the name says what counts
        runs = {str(run)}
    directory.mkdir(exist_ok=True)
    write_json(path, {"runs": sorted(runs)})


def unpin(directory: Path, run: Path) -> None:
    """Forgets what is pinned for the run in the workdir `run`."""
    for path in directory.glob("*.json"):
        runs = {*read_json(path)["runs"]}
        if runs == {str(run)}:
            path.unlink()
        elif str(run) in runs:
            write_json(path, {"runs": sorted(runs - {str(run)})})


def pinned(directory: Path) -> dict[str, int]:
    """{fingerprint: step}."""
    names = (path.stem.partition("-") for path in directory.glob("*.json"))
    return {fingerprint: int(step) for step, _, fingerprint in names if step.isdecimal()}
