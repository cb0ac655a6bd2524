"""Where figures go: metrics.jsonl, timing.jsonl and TensorBoard."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqjax.core.files import replacing, to_json

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


def seconds(workdir: Path) -> dict[str, float]:
    """The seconds of each phase in a run's timing.jsonl, together."""
    found: dict[str, float] = {}
    for line in read_lines(workdir / "timing.jsonl"):
        for name in filter(lambda name: name.endswith(_SECONDS), line):
            found[name.removesuffix(_SECONDS)] = found.get(name.removesuffix(_SECONDS), 0.0) + line[name]
    return found


def _summary_writer() -> Any:
    """tensorboardX's class. It would import PyTorch, which takes seconds, wherever that is installed."""
    hidden = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden is None:
            del sys.modules["torch"]
    return SummaryWriter


class Writer:
    """Appends the figures of a run; those later than `step`, where it goes on, are cut off first.

    metrics.jsonl holds what is a function of the config: {"step", "split", name: value, ...}, null for
    a value that is not finite.
    timing.jsonl holds what depends on the machine: {"step", "seconds", "images_per_second"}, which are training's, and
    "<phase>_seconds" of each phase: "seconds" are those of all but evaluation.
    """

    def __init__(self, workdir: Path, step: int):
        self._files = {}
        for name in ("metrics", "timing"):
            path = workdir / f"{name}.jsonl"
            kept = [line for line in read_lines(path) if line["step"] <= step]
            with replacing(path) as temporary:
                temporary.write_text("".join(to_json(line) + "\n" for line in kept))
            self._files[name] = path.open("a", buffering=1)
        self._board = _summary_writer()(str(workdir / "tensorboard"), purge_step=step + 1)

    def figures(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """A line of metrics.jsonl and TensorBoard's scalars `split/name`."""
        self._files["metrics"].write(to_json({"step": step, "split": split, **figures}) + "\n")
        for name, value in figures.items():
            if math.isfinite(value):
                self._board.add_scalar(f"{split}/{name}", value, step)

    def pictures(self, step: int, split: str, files: Sequence[Path], code_frequency: np.ndarray | None) -> None:
        """TensorBoard's images, of PNG files, and a histogram of the codes, by the share of each (K,), if there are."""
        for file in files:
            with Image.open(file) as picture:
                self._board.add_image(
                    f"{split}/{file.stem}", np.asarray(picture.convert("RGB")), step, dataformats="HWC"
                )
        if code_frequency is not None:
            self._codes(step, split, code_frequency)

    def _codes(self, step: int, split: str, frequency: np.ndarray) -> None:
        """A histogram with a bin for each code, of its number and its share."""
        codes = np.arange(len(frequency))
        self._board.add_histogram_raw(
            f"{split}/codes",
            min=-0.5,
            max=len(frequency) - 0.5,
            num=1,
            sum=float(codes @ frequency),
            sum_squares=float(codes**2 @ frequency),
            bucket_limits=(codes + 0.5).tolist(),
            bucket_counts=frequency.tolist(),
            global_step=step,
        )

    def timing(self, step: int, images: int, spent: Mapping[str, float]) -> None:
        """A line of timing.jsonl for so many training images, and the seconds of each phase since the last."""
        training = sum(spent.values()) - spent["evaluation"]
        line = {"step": step, "seconds": round(training, 4), "images_per_second": round(images / training, 1)}
        phases = {f"{phase}{_SECONDS}": round(took, 4) for phase, took in spent.items()}
        self._files["timing"].write(to_json({**line, **phases}) + "\n")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: Any) -> None:
        for file in self._files.values():
            file.close()
        self._board.close()
