"""Where figures go: metrics.jsonl, timing.jsonl and TensorBoard."""

import functools
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqjax.system.files import atomic_write, to_json, wrap_write_errors

_SECONDS = "_seconds"  # ends the names of phases in timing.jsonl


def read_lines(path: Path) -> list[dict]:
    """The JSON lines of a file, up to the first broken one; none if there is no file."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def phase_seconds(workdir: Path) -> dict[str, float]:
    """The seconds of each phase in a run's timing.jsonl, together."""
    found: dict[str, float] = {}
    for line in read_lines(workdir / "timing.jsonl"):
        for name in filter(lambda name: name.endswith(_SECONDS), line):
            found[name.removesuffix(_SECONDS)] = found.get(name.removesuffix(_SECONDS), 0.0) + line[name]
    return found


@functools.cache
def _tensorboard() -> Any:
    """tensorboardX. It would import PyTorch, which takes seconds, wherever that is installed."""
    hidden = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        import tensorboardX
        import tensorboardX.summary
    finally:
        if hidden is None:
            del sys.modules["torch"]
    return tensorboardX


class _Board:
    """TensorBoard's events of a run.

    They are written at once: SummaryWriter's thread ends when the disk is full, and the run would wait for it.
    """

    def __init__(self, directory: Path, first: int):
        """Those of the steps from `first` on that are there count no more."""
        self._directory = directory
        with wrap_write_errors(directory):
            directory.mkdir(exist_ok=True)
            self._events = _tensorboard().event_file_writer.EventsWriter(str(directory / "events"))
        proto = _tensorboard().proto.event_pb2
        self._write(proto.Event(step=first, session_log=proto.SessionLog(status=proto.SessionLog.START)))

    def add(self, found: Any, step: int) -> None:
        """A summary, of those that tensorboardX.summary makes."""
        self._write(_tensorboard().proto.event_pb2.Event(step=step, summary=found))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with wrap_write_errors(self._directory):
            self._events.write_event(event)
            self._events.flush()

    def close(self) -> None:
        with wrap_write_errors(self._directory):
            self._events.close()


class Writer:
    """Appends the figures of a run; those later than `step`, where it goes on, are cut off first.

    metrics.jsonl holds what is a function of the config: {"step", "split", name: value, ...}, null for
    a value that is not finite.
    timing.jsonl holds what depends on the machine: {"step", "seconds", "images_per_second"}, which are training's, and
    "<phase>_seconds" of each phase: "seconds" are those of all but evaluation.
    """

    def __init__(self, workdir: Path, step: int):
        paths = {name: workdir / f"{name}.jsonl" for name in ("metrics", "timing")}
        for path in paths.values():
            kept = [line for line in read_lines(path) if line["step"] <= step]
            with atomic_write(path, durable=True) as temporary:
                temporary.write_text("".join(to_json(line) + "\n" for line in kept))
        self._board = _Board(workdir / "tensorboard", step + 1)
        self._files = {name: path.open("a", buffering=1) for name, path in paths.items()}

    def _line(self, name: str, content: Mapping[str, Any]) -> None:
        file = self._files[name]
        with wrap_write_errors(Path(file.name)):
            file.write(to_json(content) + "\n")

    def metrics(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """A line of metrics.jsonl and TensorBoard's scalars `split/name`."""
        self._line("metrics", {"step": step, "split": split, **figures})
        for name, value in figures.items():
            if math.isfinite(value):
                self._board.add(_tensorboard().summary.scalar(f"{split}/{name}", value), step)

    def pictures(self, step: int, split: str, files: Sequence[Path], code_frequency: np.ndarray | None) -> None:
        """TensorBoard's images, of PNG files, and a histogram of the codes, by their shares (K,) or (depth, K)."""
        for file in files:
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._board.add(_tensorboard().summary.image(f"{split}/{file.stem}", pixels, dataformats="HWC"), step)
        if code_frequency is None:
            return
        if code_frequency.ndim == 1:
            self._codes(step, f"{split}/codes", code_frequency)
        else:
            for number, row in enumerate(code_frequency, 1):
                self._codes(step, f"{split}/codes_{number}", row)

    def _codes(self, step: int, name: str, frequency: np.ndarray) -> None:
        """A histogram with a bin for each code, of its number and its share."""
        codes = np.arange(len(frequency))
        histogram = _tensorboard().summary.histogram_raw(
            name,
            min=-0.5,
            max=len(frequency) - 0.5,
            num=1,
            sum=float(codes @ frequency),
            sum_squares=float(codes**2 @ frequency),
            bucket_limits=(codes + 0.5).tolist(),
            bucket_counts=frequency.tolist(),
        )
        self._board.add(histogram, step)

    def timing(self, step: int, images: int, spent: Mapping[str, float]) -> None:
        """A line of timing.jsonl for so many training images, and the seconds of each phase since the last."""
        training = sum(spent.values()) - spent["evaluation"]
        line = {"step": step, "seconds": round(training, 4), "images_per_second": round(images / training, 1)}
        phases = {f"{phase}{_SECONDS}": round(took, 4) for phase, took in spent.items()}
        self._line("timing", {**line, **phases})

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: Any) -> None:
        for file in self._files.values():
            file.close()
        self._board.close()
