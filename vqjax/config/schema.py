"""The fields that every config has."""

import dataclasses
import re
from typing import Annotated

from ml_collections import ConfigDict

from vqjax.config.annotations import Natural, Positive, Range, Rate, Seed
from vqjax.config.check import check_fields
from vqjax.system.errors import InputError

_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Data:
    """`config.data`."""

    name: str
    data_dir: str
    shuffle: bool
    validation: Rate
    flip: bool
    crop: Natural
    path: str = ""
    size: str = ""
    channels: Annotated[int, Range(0, 3)] = 0
    frames: Natural = 0
    test: Rate = 0.1
    memory: Annotated[float, Range(0, 2**20)] = 4.0
    workers: Annotated[int, Range(0, 1024)] = 0
    cache: bool = True
    limit: Natural = 0
    resized_crop: Rate = 0.0
    oversize: Annotated[float, Range(1, 2)] = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The fields that every config has, whatever its task; `model` is the task's own."""

    task: str
    seed: Seed
    steps: Positive
    batch_size: Positive
    parallel: str
    log_every: Positive
    eval_every: Positive
    save_every: Positive
    data: ConfigDict
    model: ConfigDict
    optimizer: ConfigDict
    microbatch: Natural = 0  # examples that a device takes at a time; not with batch norm
    init_from: str = ""  # the workdir of a run whose weights this one starts from


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecondStage(Run):
    """The fields of a run on the codes of a frozen stage 1."""

    stage1: str  # its workdir


def parse_size(text: str, key: str) -> tuple[int, int] | None:
    """(H, W) of "HxW" or of one number for both; None of "". Raises InputError, naming the key."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    height, width = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < height <= _INT32 or not 0 < width <= _INT32:
        raise InputError(f"{key}={text!r}: expected a number of pixels, or HxW")
    return height, width


def check_run(config: ConfigDict, fields: type[Run] = Run) -> None:
    """Checks the fields outside `model` and `optimizer`, which are checked as they are built."""
    check_fields(fields, dict(config.items()), "config")
    check_fields(Data, config.data.to_dict(), "config.data")
