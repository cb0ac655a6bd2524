"""Files of JSON lines, one per logged step: metrics.jsonl and timing.jsonl."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from vqjax.system.files import atomic_write, to_json

_SECONDS = "_seconds"  # ends the names of phases in timing.jsonl
_FIELDS: dict[str, dict[str, type]] = {  # that every line has
    "metrics.jsonl": {"step": int, "split": str},
    "timing.jsonl": {"step": int, "seconds": float},
}


def read_lines(path: Path) -> list[dict]:
    """Return the JSON lines of a file, without those that are damaged; none if there is no file."""
    return _parse(path)[0]


def _parse(path: Path) -> tuple[list[dict], list[bytes]]:
    """Return the lines of a file, and those that are damaged. A last line that a kill cut off is neither."""
    lines, damaged, required = [], [], _FIELDS[path.name]
    content = path.read_bytes() if path.exists() else b""
    *complete, cut_off = content.split(b"\n")
    for number, text in enumerate([*complete, cut_off]):
        try:
            line = json.loads(text)
            if not all(isinstance(line[name], kind) for name, kind in required.items()):
                raise ValueError
            lines.append(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            if number < len(complete) and text.strip():
                damaged.append(text)
    return lines, damaged


def truncate_lines(path: Path, step: int) -> None:
    """Cut off the lines of a file that are later than `step`; keep damaged ones aside, and say so.

    Raises WriteError if the file cannot be written.
    """
    lines, damaged = _parse(path)
    if damaged:
        aside = path.with_name(f"{path.stem}.damaged-{time.time_ns()}")
        with atomic_write(aside) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in damaged))
        count = "a line" if len(damaged) == 1 else f"{len(damaged)} lines"
        print(f"{path}: {count} cannot be read, kept aside in {aside.name}")
    with atomic_write(path, durable=True) as temporary:
        temporary.write_text("".join(to_json(line) + "\n" for line in lines if line["step"] <= step))


def phase_seconds(workdir: Path) -> dict[str, float]:
    """Return the total seconds of each phase in a run's timing.jsonl."""
    seconds: dict[str, float] = {}
    for line in read_lines(workdir / "timing.jsonl"):
        for name in filter(lambda name: name.endswith(_SECONDS), line):
            phase = name.removesuffix(_SECONDS)
            seconds[phase] = seconds.get(phase, 0.0) + line[name]
    return seconds


def phase_names(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the fields of timing.jsonl for the seconds of each phase."""
    return {f"{phase}{_SECONDS}": round(spent, 4) for phase, spent in seconds.items()}
