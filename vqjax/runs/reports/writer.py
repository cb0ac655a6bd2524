"""The figures of a run while it is trained: metrics.jsonl, timing.jsonl and trackers."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqjax.runs.devices.processes import is_leader
from vqjax.runs.metrics import frequency_levels
from vqjax.runs.reports.lines import phase_names, truncate_lines
from vqjax.runs.side_jobs import side_job
from vqjax.runs.trackers import TRACKERS, Tracker, tracker_names
from vqjax.system.files import to_json, wrap_write_errors


class Writer:
    """Appends the figures of a run; lines later than `step`, after which it is resumed, are cut off first.

    metrics.jsonl holds what is a function of the config: {"step", "split", name: value, ...}, null for a value that is
    not finite. timing.jsonl holds what depends on the machine: {"step", "seconds", "images_per_second"} of training,
    where "seconds" are those of all phases but evaluation, and "<phase>_seconds" of each phase.

    Attributes:
      status: what trackers are told at the end: "finished", or "stopped" if the run is to be resumed. After an error it
        is "failed".
    """

    status = "finished"

    def __init__(self, workdir: Path, step: int, trackers: str = "tensorboard"):
        """Args:
          workdir: of the run, which has its config.json.
          step: after which it is resumed, or 0.
          trackers: entries of TRACKERS with commas between; only the leader process has any.

        Raises:
          WriteError: the workdir cannot be written to.
        """
        paths = {name: workdir / f"{name}.jsonl" for name in ("metrics", "timing")}
        for path in paths.values():
            truncate_lines(path, step)
        self._trackers: dict[str, Tracker] = {}
        for name in tracker_names(trackers if is_leader() else ""):
            with side_job(f"{name} records nothing of this run"):
                self._trackers[name] = TRACKERS[name](workdir, step)
        self._files = {name: path.open("a", buffering=1) for name, path in paths.items()}

    def _track(self, record: Callable[[Tracker], None]) -> None:
        """Call all trackers. One that fails is closed, and called no more."""
        for name, tracker in [*self._trackers.items()]:
            succeeded = False
            with side_job(f"{name} records nothing more of this run"):
                record(tracker)
                succeeded = True
            if not succeeded:
                del self._trackers[name]
                with contextlib.suppress(Exception):
                    tracker.close("failed")

    def _append(self, name: str, content: Mapping[str, Any]) -> None:
        file = self._files[name]
        with wrap_write_errors(Path(file.name)):
            file.write(to_json(content) + "\n")

    def metrics(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl, and record the finite figures in the trackers."""
        self._append("metrics", {"step": step, "split": split, **figures})
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        self._track(lambda tracker: tracker.metrics(step, split, finite))

    def pictures(
        self,
        step: int,
        split: str,
        files: Sequence[Path],
        code_frequency: np.ndarray | Mapping[str, np.ndarray] | None,
    ) -> None:
        """Record pictures and the shares of codes in the trackers.

        Args:
          step: of the run.
          split: that the pictures are of.
          files: PNG and GIF files; those that are not there are left out.
          code_frequency: (K,) or (depth, K), or the dict of `metrics.code_frequencies`, or None without codes.
        """
        for file in files if self._trackers else ():
            if file.is_file():
                with side_job(f"{file.name} is in no tracker"):
                    self._picture(step, split, file)
        for suffix, frequency in frequency_levels({} if code_frequency is None else code_frequency).items():
            self._histogram(step, split, f"codes{suffix}", frequency)

    def _picture(self, step: int, split: str, file: Path) -> None:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._track(lambda tracker: tracker.picture(step, split, file.stem, pixels))

    def _histogram(self, step: int, split: str, name: str, frequency: np.ndarray) -> None:
        self._track(lambda tracker: tracker.histogram(step, split, name, frequency))

    def timing(self, step: int, images: int, spent: Mapping[str, float]) -> None:
        """Append a line to timing.jsonl for so many training images, and the seconds of each phase since the last."""
        training = sum(spent.values()) - spent["evaluation"]
        line = {"step": step, "seconds": round(training, 4), "images_per_second": round(images / training, 1)}
        self._append("timing", {**line, **phase_names(spent)})

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for file in self._files.values():
            file.close()
        for name, tracker in self._trackers.items():
            with side_job(f"{name} may lack the end of this run"):
                tracker.close("failed" if kind else self.status)
