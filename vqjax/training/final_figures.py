"""Figures that are measured once, of the checkpoint that a finished run is used at, and added to eval.json."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vqjax.data.splits import Split
from vqjax.networks.priors.steps import best_groups
from vqjax.runs import devices
from vqjax.runs.side_jobs import side_job
from vqjax.system.files import read_json, write_json
from vqjax.system.terminal import timed
from vqjax.tasks.base import Task
from vqjax.tasks.order_prices import read_nats
from vqjax.tasks.pixels import PixelBits, needs_distribution, read_distribution, write_distribution
from vqjax.tasks.prior import PriorTask

_FEW_STEPS = 8, 4  # in which nats are measured, too
_IMAGES, _CODES = 256, 2**16  # at a time, at most


class Evaluated(NamedTuple):
    """A checkpoint that was evaluated.

    Attributes:
      task: of the run.
      variables: of the checkpoint, on the host.
      workdir: of the run.
      directory: of eval.json.
      read: gives a split by its name.
    """

    task: Task
    variables: Mapping[str, Any]
    workdir: Path
    directory: Path
    read: Callable[[str], Split]


def has_final_figures(task: Task) -> bool:
    """Return whether a task has figures of this kind."""
    return needs_distribution(task) or _takes_any_order(task)


def add_final_figures(evaluated: Evaluated) -> dict[str, Any]:
    """Measure the figures that a task has, and add them to its eval.json; returns them.

    It is a side job: if it fails, that costs a line, and the figures.
    """
    figures: dict[str, Any] = {}
    if not has_final_figures(evaluated.task):
        return figures
    with side_job("eval.json lacks the figures that are measured last"):
        evaluation = read_json(evaluated.directory / "eval.json")
        if needs_distribution(evaluated.task):
            figures |= _pixel_bits(evaluated, evaluation["step"], evaluation["split"])
        if _takes_any_order(evaluated.task):
            figures |= _nats_by_steps(evaluated, evaluation["step"], evaluation["split"])
        write_json(evaluated.directory / "eval.json", {**evaluation, **figures})
    return figures


def _pixel_bits(evaluated: Evaluated, step: int, split: str) -> dict[str, float]:
    """Bits of the pixels given their codes, by a distribution that is fitted to train; see `vqjax.tasks.pixels`."""
    assert needs_distribution(evaluated.task)
    with timed("bits of pixels"):
        bits = PixelBits(evaluated.task, evaluated.variables)
        distribution = read_distribution(evaluated.workdir, step)
        if distribution is None:
            distribution = bits.fit(evaluated.read("train"))
            if evaluated.directory == evaluated.workdir:  # of the checkpoint that second stages stand on
                write_distribution(evaluated.workdir, step, distribution)
        return {"bits_per_dim_given_codes": bits.measure(evaluated.read(split), distribution)}


def _takes_any_order(task: Task) -> bool:
    return isinstance(task, PriorTask) and task.module.any_order


def step_numbers(length: int) -> list[int]:
    """Return the numbers of steps in which L codes are drawn for the curve: L, L/2, L/4, 8, 4."""
    return sorted({length, length // 2, length // 4, *_FEW_STEPS} & {*range(1, length + 1)}, reverse=True)


def _nats_by_steps(evaluated: Evaluated, step: int, split: str) -> dict[str, Any]:
    """Nats per code if codes are drawn in S groups of the best sizes, by S; see `vqjax.networks.priors.steps`."""
    from vqjax.runs import plots

    task, examples = evaluated.task, evaluated.read(split)
    assert isinstance(task, PriorTask)
    prices, length = read_nats(evaluated.directory, step), task.layout.length
    if prices is None:
        return {}
    mapper, size = devices.Mapper(evaluated.variables, task.settings.parallel), max(1, min(_IMAGES, _CODES // length))
    numbers = step_numbers(length)
    with timed(f"nats in {', '.join(map(str, numbers))} steps"):
        measured, predicted = {}, {}
        for count in numbers:
            groups, nats = best_groups(prices, count)
            of_batch = functools.partial(_mean_nats, task, groups)
            measured[str(count)] = float(mapper(of_batch, examples, size, f"{count} steps").mean(dtype=np.float64))
            predicted[str(count)] = nats / length
    plots.save_nats_by_steps(evaluated.directory / "nats_by_steps.png", measured, predicted)
    return {"nats_by_steps": measured, "nats_by_steps_predicted": predicted}


def _mean_nats(task: PriorTask, groups: tuple[int, ...], variables: Mapping, batch: Mapping) -> jax.Array:
    """Mean nats of each example's codes, (B,), drawn in groups."""
    return task.nats_in_random_order(variables, batch, groups).mean(1)
