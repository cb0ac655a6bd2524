"""Settings of a run: the fields that every config has, typed and checked."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from ml_collections import ConfigDict

from vqjax.config.annotations import Natural, Positive, Range, Rate, Seed
from vqjax.config.check import Section, check_fields
from vqjax.config.plain import to_plain
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path

_MAX_SIDE = 2**31 - 1  # pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """`config.data`. A second stage has the fields with a default from its first stage."""

    name: str
    data_dir: str
    path: str
    shuffle: bool
    validation: Rate
    flip: bool
    crop: Natural
    memory: Annotated[float, Range(0, 2**20)]
    workers: Annotated[int, Range(0, 1024)]
    cache: bool
    limit: Natural
    size: str = ""
    channels: Annotated[int, Range(0, 3)] = 0
    frames: Natural = 0
    test: Rate = 0.1
    resized_crop: Rate = 0.0
    oversize: Annotated[float, Range(1, 2)] = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """A run's config, typed and checked, with absolute paths. `model` and `optimizer` are checked as they are built.

    Attributes:
      tracker: entries of TRACKERS that record the run, with commas between; "" for none.
      microbatch: examples that a device takes at a time, 0 for a number that is chosen; not with batch norm.
      init_from: workdir of a run whose weights this one starts from.
      plain: the config itself, as config.json has it.
      stage1: workdir of the autoencoder of a second stage; "" for a first stage.
      top_prior: workdir of the prior over the levels that a prior is given; "" for none.
      others: see configs/autoencoder.py.
    """

    task: str
    seed: Seed
    steps: Positive
    batch_size: Positive
    parallel: str
    log_every: Positive
    eval_every: Positive
    save_every: Positive
    init_from: str
    data: Data
    model: Section
    optimizer: Section
    plain: Mapping[str, Any]
    microbatch: Natural = 0
    tracker: str = "tensorboard"
    stage1: str = ""
    top_prior: str = ""

    @classmethod
    def of(cls, config: ConfigDict | Mapping[str, Any]) -> "Settings":
        """Check the fields outside `model` and `optimizer`.

        Raises InputError if one is unknown, missing, of a wrong type or out of range.
        """
        plain = to_plain(config)
        sections = {name: Section.of(plain, f"config.{name}") for name in ("data", "model", "optimizer")}
        _make_absolute(plain, "config", ("init_from", "top_prior"))
        _make_absolute(plain["data"], "config.data", ("data_dir", "path"))
        own = {name: value for name, value in plain.items() if name not in sections}
        checked = check_fields(cls, own, "config", dict.fromkeys(("plain", *sections)))
        data = Data(**check_fields(Data, sections["data"].values, "config.data"))
        return cls(**checked, plain=plain, data=data, model=sections["model"], optimizer=sections["optimizer"])


def _make_absolute(fields: dict[str, Any], key: str, names: Sequence[str]) -> None:
    """Make those of the fields absolute that are paths. Raises InputError, which begins with `key`, if one is none."""
    for name in names:
        if fields.get(name) and isinstance(fields[name], str):
            fields[name] = str(absolute_path(fields[name], f"{key}.{name}"))


def parse_size(text: str, key: str) -> tuple[int, int] | None:
    """Parse "HxW", or one number for both, to (H, W); None for "". Raises InputError, naming the key."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < height <= _MAX_SIDE or not 0 < width <= _MAX_SIDE:
        raise InputError(f"{key}={text!r}: expected a number of pixels, or HxW")
    return height, width
