"""What the fields of a config are in runs that are older than the fields, and what fields and figures are called now.

A field that is new has a line in ADDED. One that gets another name, or goes, has a line in MOVED, and
`vqjax.runs.workdir.FORMAT` rises: older versions then say that they cannot read the run.
"""

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
_RUN: dict[str, Any] = {"init_from": "", **_DATA}
_PIECES: dict[str, Any] = {"microbatch": 0}
_IMAGES: dict[str, Any] = {"data.resized_crop": 0.0, "data.oversize": 1.0}
_CLIPS: dict[str, Any] = {"data.frames": 0}
_OPENAI = {"model.openai.remat": False}
# task -> {field that an older config.json lacks: the value that means what was done before}
ADDED: dict[str, dict[str, Any]] = {
    "autoencoder": {**_NETWORKS, **_OPENAI, **_RUN, **_PIECES, **_IMAGES, **_CLIPS},
    "prior": {**_RUN, **_PIECES},
    "classifier": {**_NETWORKS, **_RUN, **_IMAGES},
    "code_classifier": _RUN,
}
# task -> {field as older runs call it: as it is called now, "" if it has gone}
MOVED: dict[str, dict[str, str]] = {
    "autoencoder": {
        "model.deepmind.init": "model.deepmind.kernel_init",
        "optimizer.cosine.final": "optimizer.final_learning_rate",
    },
    "prior": {"optimizer.codebook_rate": ""},
}
# task -> {figure as older runs call it: as it is called now}
RENAMED: dict[str, dict[str, str]] = {
    "autoencoder": {"bits_per_dim": "bits_per_dim_given_codes"},
    "prior": {"bits_per_dim": "bits_per_dim_of_codes"},
}


def upgrade_config(config: ConfigDict) -> ConfigDict:
    """The config of a run that is there, its fields by the names of now, with those that have come since."""
    config = ConfigDict(config.to_dict())
    for old, new in MOVED.get(config.get("task"), {}).items():
        part, name = _place(config, old)
        if part is not None and name in part:
            _add(config, new, part[name])
            del part[name]
    for key, value in ADDED.get(config.get("task"), {}).items():
        _add(config, key, value)
    return config


def _place(config: ConfigDict, key: str) -> tuple[ConfigDict | None, str]:
    """The section of a field, None if there is none, and its name in that."""
    *path, name = key.split(".")
    part: Any = config
    for each in path:
        part = part.get(each) if isinstance(part, ConfigDict) else None
    return part if isinstance(part, ConfigDict) else None, name


def _add(config: ConfigDict, key: str, value: Any) -> None:
    """Sets a field that is not there, if its section is."""
    part, name = _place(config, key)
    if key and part is not None and name not in part:
        part[name] = value


def rename_metrics(figures: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The figures of a run of a task that is there, by the names of now."""
    names = RENAMED.get(task, {})
    return {names.get(name, name): value for name, value in figures.items()}
