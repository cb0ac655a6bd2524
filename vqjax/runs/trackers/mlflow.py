"""MLflow, in `mlflow.db` and `mlflow/` of the workdir: `mlflow ui --backend-store-uri sqlite:///<workdir>/mlflow.db`."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from vqjax.system.files import read_json

_STATUSES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class MLflow:
    """A run of MLflow, the only one of an experiment that is called as the workdir."""

    package = "mlflow"
    extra = "mlflow"

    def __init__(self, workdir: Path, step: int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SQLAlchemy, about MLflow's code
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic"):  # they tell how tables are made
                logging.getLogger(name).setLevel(logging.WARNING)
            self._client = MlflowClient(f"sqlite:///{workdir / 'mlflow.db'}")
            experiment = self._client.get_experiment_by_name(workdir.name)
            if experiment:
                self._run = self._client.search_runs([experiment.experiment_id])[0].info.run_id
                self._client.update_run(self._run, status="RUNNING")
            else:
                made = self._client.create_experiment(workdir.name, artifact_location=(workdir / "mlflow").as_uri())
                self._run = self._client.create_run(made, run_name=workdir.name).info.run_id
        self._record(read_json(workdir / "config.json"))

    def _record(self, config: dict[str, Any]) -> None:
        known = self._client.get_run(self._run).data.params
        for key, value in traverse_util.flatten_dict(config, sep=".").items():
            if key not in known:  # parameters cannot change; what a resumed run has changed is in config.json
                self._client.log_param(self._run, key, value)
        self._client.log_dict(self._run, config, "config.json")

    def metrics(self, step: int, split: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._client.log_metric(self._run, f"{split}/{name}", value, step=step)

    def picture(self, step: int, split: str, name: str, pixels: np.ndarray) -> None:
        self._client.log_image(self._run, pixels, artifact_file=f"{split}/{name}/{step}.png")

    def histogram(self, step: int, split: str, name: str, frequency: np.ndarray) -> None:
        self._client.log_dict(self._run, {"frequency": frequency.tolist()}, f"{split}/{name}/{step}.json")

    def close(self, status: str) -> None:
        self._client.set_terminated(self._run, _STATUSES[status])
