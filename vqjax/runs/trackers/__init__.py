"""Trackers: programs that show the figures and pictures of runs. metrics.jsonl has the figures without any of them."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from vqjax.config.check import check_name
from vqjax.runs.trackers.mlflow import MLflow
from vqjax.runs.trackers.tensorboard import TensorBoard
from vqjax.runs.trackers.wandb import WeightsAndBiases
from vqjax.system.errors import InputError


class Tracker(Protocol):
    """A program that shows runs. Its files lie in the workdir; nothing is sent over a network."""

    package: str  # that it is imported from
    extra: str  # of vqjax, which installs it

    def __init__(self, workdir: Path, step: int):
        """Begin, or resume after `step`, the run in `workdir`, and record its config.json."""

    def metrics(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        """Record finite figures of a split at a step."""

    def picture(self, step: int, split: str, name: str, pixels: np.ndarray) -> None:
        """Record a picture (H, W, 3) uint8."""

    def histogram(self, step: int, split: str, name: str, frequency: np.ndarray) -> None:
        """Record the shares (K,) of K codes."""

    def close(self, status: str) -> None:
        """End with a status: "finished", "stopped" (to be resumed) or "failed"."""


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def tracker_names(names: str) -> list[str]:
    """Return the names in a list with commas between."""
    return [name for part in names.split(",") if (name := part.strip())]


def check_trackers(names: str) -> None:
    """Raise InputError for a name that is not in TRACKERS, or whose package is not installed."""
    for name in tracker_names(names):
        check_name(TRACKERS, name, "config.tracker")
        tracker = TRACKERS[name]
        if importlib.util.find_spec(tracker.package) is None:
            raise InputError(
                f"config.tracker={name} needs the package {tracker.package}: pip install 'vqjax[{tracker.extra}]'"
            )
