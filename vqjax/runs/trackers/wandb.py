"""Weights & Biases, offline, in `wandb/` of the workdir. `wandb sync <workdir>/wandb/offline-run-*` uploads it."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vqjax.system.files import read_json

_PROJECT = "vqjax"


class WeightsAndBiases:
    """An offline run of Weights & Biases. Each start of the run adds a part with the same id."""

    package = "wandb"
    extra = "wandb"

    def __init__(self, workdir: Path, step: int):
        import wandb

        self._wandb = wandb
        parts = sorted(workdir.glob("wandb/offline-run-*-*"))
        self._run = wandb.init(
            mode="offline",
            dir=str(workdir),
            project=_PROJECT,
            name=workdir.name,
            id=parts[-1].name.rpartition("-")[2] if parts else secrets.token_hex(4),
            resume="allow" if parts else None,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        self._run.define_metric("*", step_metric="step")
        self._run.config.update(read_json(workdir / "config.json"), allow_val_change=True)

    def metrics(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": value for name, value in figures.items()}})

    def picture(self, step: int, split: str, name: str, pixels: np.ndarray) -> None:
        self._run.log({"step": step, f"{split}/{name}": self._wandb.Image(pixels)})

    def histogram(self, step: int, split: str, name: str, frequency: np.ndarray) -> None:
        edges = np.arange(len(frequency) + 1) - 0.5
        self._run.log({"step": step, f"{split}/{name}": self._wandb.Histogram(np_histogram=(frequency, edges))})

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=int(status == "failed"))
