"""TensorBoard: events in `tensorboard/` of the workdir."""

import functools
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.system.files import wrap_write_errors


@functools.cache
def _tensorboard() -> Any:
    """Import tensorboardX. It would import PyTorch, which takes seconds, wherever that is installed."""
    torch = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        import tensorboardX
        import tensorboardX.summary
    finally:
        if torch is None:
            del sys.modules["torch"]
    return tensorboardX


class TensorBoard:
    """TensorBoard's events of a run. A full disk is an error of the run, which is where the events are.

    They are written at once: the thread of a SummaryWriter ends when the disk is full, and the run would wait for it.
    """

    package = "tensorboardX"
    extra = "train"

    def __init__(self, workdir: Path, step: int):
        self._directory = workdir / "tensorboard"
        with wrap_write_errors(self._directory):
            self._directory.mkdir(exist_ok=True)
            writer = _tensorboard().event_file_writer.EventsWriter
            # The suffix keeps the file of a run that was resumed in the same second.
            self._events = writer(str(self._directory / "events"), f".{time.time_ns()}")
        proto = _tensorboard().proto.event_pb2
        start = proto.SessionLog(status=proto.SessionLog.START)
        self._write(proto.Event(step=step + 1, session_log=start))  # hides events from that step on
        config = (workdir / "config.json").read_text()
        self._add(step, _tensorboard().summary.text("config", f"```\n{config}```"))

    def metrics(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._add(step, _tensorboard().summary.scalar(f"{split}/{name}", value))

    def picture(self, step: int, split: str, name: str, pixels: np.ndarray) -> None:
        self._add(step, _tensorboard().summary.image(f"{split}/{name}", pixels, dataformats="HWC"))

    def histogram(self, step: int, split: str, name: str, frequency: np.ndarray) -> None:
        codes = np.arange(len(frequency))
        histogram = _tensorboard().summary.histogram_raw(  # a bin for each code
            f"{split}/{name}",
            min=-0.5,
            max=len(frequency) - 0.5,
            num=1,
            sum=float(codes @ frequency),
            sum_squares=float(codes**2 @ frequency),
            bucket_limits=(codes + 0.5).tolist(),
            bucket_counts=frequency.tolist(),
        )
        self._add(step, histogram)

    def _add(self, step: int, summary: Any) -> None:
        self._write(_tensorboard().proto.event_pb2.Event(step=step, summary=summary))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with wrap_write_errors(self._directory):
            self._events.write_event(event)
            self._events.flush()

    def close(self, status: str) -> None:
        with wrap_write_errors(self._directory):
            self._events.close()
