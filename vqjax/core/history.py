"""What the fields of a config are in runs that are older than the fields, and what their figures are called now."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

_NETWORKS: dict[str, Any] = {  # as the base config has them
    "model.fsq": {"levels": (8, 8, 8)},
    "model.gaussian": {"latent_dim": 16, "kl_weight": {"schedule": "linear", "start": 0.0, "end": 0.01, "share": 0.2}},
    "model.deepmind.relu_skip": False,
    "model.deepmind.remat": False,
}
_DATA: dict[str, Any] = {
    "data.path": "",
    "data.size": "",
    "data.channels": 0,
    "data.test": 0.1,
    "data.memory": 4.0,
    "data.workers": 0,
    "data.cache": True,
    "data.limit": 0,
}
_RUN: dict[str, Any] = {"start": "", **_DATA}
_IMAGES: dict[str, Any] = {"data.resized_crop": 0.0, "data.enlarged": 1.0}
_CLIPS: dict[str, Any] = {"data.frames": 0}
_OPENAI = {"model.openai.remat": False}
# task -> {field that an older config.json lacks: the value that means what was done before}
ADDED: dict[str, dict[str, Any]] = {
    "autoencoder": {**_NETWORKS, **_OPENAI, **_RUN, **_IMAGES, **_CLIPS},
    "prior": _RUN,
    "classifier": {**_NETWORKS, **_RUN, **_IMAGES},
    "code_classifier": _RUN,
}
# task -> {figure as older runs call it: as it is called now}
RENAMED: dict[str, dict[str, str]] = {
    "autoencoder": {"bits_per_dim": "bits_per_dim_given_codes"},
    "prior": {"bits_per_dim": "bits_per_dim_of_codes"},
}


def completed(config: ConfigDict) -> ConfigDict:
    """The config of a run that is there, with the fields that have come since."""
    config = ConfigDict(config.to_dict())
    for key, value in ADDED.get(config.get("task"), {}).items():
        section, _, name = key.rpartition(".")
        part = config
        for each in filter(None, section.split(".")):
            part = part.get(each) if isinstance(part, ConfigDict) else None
        if isinstance(part, ConfigDict) and name not in part:
            part[name] = value
    return config


def renamed(figures: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The figures of a run of a task that is there, by the names of now."""
    names = RENAMED.get(task, {})
    return {names.get(name, name): value for name, value in figures.items()}
