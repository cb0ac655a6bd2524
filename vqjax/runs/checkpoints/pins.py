"""Pins: the checkpoints of a run that second stages stand on. They are kept however far the run is trained on.

pins/<step>-<fingerprint>.json    {"runs": the workdirs of the runs that were trained on it}
"""

from pathlib import Path

from vqjax.system.files import read_json, write_json


def pin(directory: Path, step: int, fingerprint: str, run: Path) -> None:
    """Pin the checkpoint of `step` with this fingerprint for the run in the workdir `run`.

    Raises OSError if the directory cannot be written to.
    """
    path = directory / f"{step}-{fingerprint}.json"
    directory.mkdir(exist_ok=True)
    write_json(path, {"runs": sorted(_runs(path) | {str(run)})})


def unpin(directory: Path, run: Path) -> None:
    """Remove the pins for the run in the workdir `run`."""
    for path in directory.glob("*.json"):
        runs = _runs(path)
        if runs == {str(run)}:
            path.unlink()
        elif str(run) in runs:
            write_json(path, {"runs": sorted(runs - {str(run)})})


def _runs(path: Path) -> set[str]:
    """Return the runs of a pin; none if there is no pin yet, or it is damaged: its name is what counts."""
    try:
        return set(map(str, read_json(path)["runs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def pinned(directory: Path) -> dict[str, int]:
    """Return {fingerprint: step} of all pins."""
    names = (path.stem.partition("-") for path in directory.glob("*.json"))
    return {fingerprint: int(step) for step, _, fingerprint in names if step.isdecimal()}
