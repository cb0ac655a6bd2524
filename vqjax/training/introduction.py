"""What a user is told of a run before its first step."""

from collections.abc import Mapping

import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.runs.state import TrainState
from vqjax.system.terminal import wrap
from vqjax.tasks.base import Task
from vqjax.training import optimizers

_NOTES = 20  # lines about the data


def introduce(task: Task, splits: Mapping[str, Split], state: TrainState) -> None:
    """Prints how much there is of data and parameters, and where a run begins; of a new one also what is odd."""
    print(f"images: {', '.join(f'{len(split):,} {name}' for name, split in splits.items())}")
    counts = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in state.params.items()}
    print(wrap(f"parameters: {sum(counts.values()):,} ({', '.join(f'{k} {v:,}' for k, v in counts.items())})"))
    extra = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in state.extra.items()}
    print(wrap(f"without gradients: {', '.join(f'{k} {v:,}' for k, v in extra.items()) or 'none'}"))
    if state.step:
        print(f"going on from step {int(state.step):,}")
        return
    for note in _notes(task):
        print(wrap(note))


def describe_schedule_change(config: ConfigDict, steps: int, step: int) -> str:
    """What becomes of the schedules of a run that goes on from a step, where it was planned to have other steps."""
    before, after = ConfigDict(config.to_dict()), config
    before.steps = steps
    old, new = (float(optimizers.create_optimizer(each)[1](step)) for each in (before, after))
    rate = f"; the learning rate is {new:.3g}, and would have been {old:.3g}" if new != old else ""
    return (
        f"step {step:,} is {step / config.steps:.0%} of the run, and was {step / steps:.0%}: schedules go on from there"
        f"{rate}"
    )


def _notes(task: Task) -> list[str]:
    """What a user should know of the run before it begins."""
    notes = [*datasets.open_dataset(task.config).notes, *task.notes, *datasets.dataset_warnings(task.config)]
    more = [f"and more: python -m vqjax inspect lists all {len(notes)}"] if len(notes) > _NOTES else []
    return notes[:_NOTES] + more
