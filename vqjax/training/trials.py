"""Short runs that show whether something is wrong before a long one: what they change is in their configs."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqjax.config.annotations import Positive
from vqjax.config.check import check_value
from vqjax.config.plain import with_fields
from vqjax.config.schema import Settings
from vqjax.runs import devices
from vqjax.runs.checkpoints import pins
from vqjax.runs.reports.lines import read_lines
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.terminal import wrap
from vqjax.training import loop
from vqjax.training.optimizers import OPTIMIZERS, OptimizerConfig

_SMOKE = {"steps": 4, "log_every": 2, "eval_every": 2, "save_every": 2}
_IMAGES = 32  # of each split in a smoke test
_BATCH = 8  # of them in a step, or the least that the devices divide
# Fields of a network or quantizer and the most that they are in a smoke test; what changes the grid of codes stays.
_MOST = dict(width=8, residual_width=8, features=8, head_width=16, blocks=1, layers=2, heads=2, num_codes=16)
_MOST_OF = {"vqgan": {"width": 32}}  # a channel for each group of its norm


def overfit(settings: Settings, workdir: Path, count: int, debug_nans: bool = False) -> int:
    """Train on the first images alone, beside the run's workdir, and say whether the loss fell.

    Args:
      settings, workdir: of the run.
      count: of the images.
      debug_nans: as of `loop.train`.

    Returns:
      The exit status of `loop.train`. Raises InputError as that does.
    """
    check_value(count, Positive, "--overfit")
    workdir = overfit_workdir(workdir)
    status = loop.train(with_fields(settings.plain, overfit_changes(settings, count)), workdir, debug_nans)
    if not status:
        print(wrap(describe_loss_change(workdir)))
    return status


def overfit_workdir(workdir: Path) -> Path:
    """Return the workdir of such a training, beside that of the run."""
    path = Workdir(workdir).path
    return path.with_name(f"{path.name}-overfit")


def overfit_changes(settings: Settings, count: int) -> dict[str, Any]:
    """Fields of a run that learns the first images of train by heart, as they are; nothing is held out."""
    fields = {"limit": count, "validation": 0.0, "flip": False, "crop": 0, "resized_crop": 0.0, "oversize": 1.0}
    return {f"data.{name}": value for name, value in fields.items() if name in settings.plain["data"]}


def describe_loss_change(workdir: Path) -> str:
    """Describe, for a person, what became of the loss of training in a run."""
    lines = [line for line in read_lines(workdir / "metrics.jsonl") if line["split"] == "train"]
    name = "loss" if lines and "loss" in lines[0] else "nats_per_code"
    found = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    if len(found) < 2:
        return "the loss was logged too seldom to say whether it fell: lower config.log_every"
    (first, before), (last, after) = found[0], found[-1]
    text = f"{name.replace('_', ' ')} on train: {before:.4g} at step {first:,}, {after:.4g} at step {last:,}"
    return text if after < before else f"{text}: it did not fall; see docs/troubleshooting.md"


def smoke(settings: Settings, workdir: Path, debug_nans: bool, command: str) -> int:
    """Take every phase of a run on a small scale, in a workdir beside the run's that is removed.

    Args:
      settings, workdir, debug_nans: see `overfit`.
      command: of the run itself, to show at the end.

    Returns:
      The exit status of `loop.train`. Raises InputError as that does.
    """
    since = time.perf_counter()
    with _scratch(Workdir(workdir).path, settings.stage1) as path:
        status = loop.train(with_fields(settings.plain, smoke_changes(settings)), path, debug_nans, next_commands=())
    if not status:
        print(f"smoke test passed in {time.perf_counter() - since:.1f} s; its workdir is removed")
        print(f"next: {command}")
    return status


def smoke_changes(settings: Settings) -> dict[str, Any]:
    """Fields of a run of a few steps on a few images with small networks, that has every phase of a run."""
    data, optimizer = settings.data, settings.optimizer.own(OptimizerConfig, OPTIMIZERS)
    changes: dict[str, Any] = {
        **_SMOKE,
        "init_from": "",
        "batch_size": min(settings.batch_size, devices.round_up_to_devices(_BATCH)),
        "data.limit": min(_IMAGES, data.limit or _IMAGES),
        "data.workers": 0,
        "optimizer.warmup": min(optimizer.warmup, 1),
    }
    if data.oversize == 1:
        changes["data.memory"] = 0.0  # a set of files is read as far as it is needed
    for entry, fields in settings.plain["model"].items():
        if isinstance(fields, Mapping):
            most = {**_MOST, **_MOST_OF.get(entry, {})}
            small = {name: min(fields[name], size) for name, size in most.items() if isinstance(fields.get(name), int)}
            changes |= {f"model.{entry}.{name}": value for name, value in small.items()}
    return changes


@contextlib.contextmanager
def _scratch(workdir: Path, stage1: str) -> Iterator[Path]:
    """Yield a workdir beside the one of a run, for a trial that leaves nothing, not even a pin in its stage 1.

    Raises InputError if none can be made.
    """
    try:
        workdir.parent.mkdir(parents=True, exist_ok=True)
        directory = tempfile.TemporaryDirectory(prefix=f"{workdir.name}-smoke-", dir=workdir.parent)
    except OSError as error:
        raise InputError(f"--workdir={workdir}: nothing can be written beside it: {error.strerror}") from error
    with directory as path:
        try:
            yield Path(path)
        finally:
            if stage1:
                pins.unpin(Workdir(stage1).path / "pins", Path(path))
