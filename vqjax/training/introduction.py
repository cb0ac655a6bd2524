"""Introduction of a run: the lines that a user reads before its first step."""

import dataclasses

import jax
import numpy as np

from vqjax.config.plain import format_config
from vqjax.data import datasets
from vqjax.runs import devices
from vqjax.runs.state import TrainState
from vqjax.system.terminal import display_path, wrap
from vqjax.system.version import __version__
from vqjax.training.optimizers import create_optimizer
from vqjax.training.setup import Plan, Session

_MAX_NOTES = 20  # lines about the data


def introduce(planned: Plan) -> None:
    """Print what a run is, before its data is read."""
    for key, (old, new) in planned.changes.items():
        print(f"config.{key} is now {new!r}, was {old!r}")
    assert planned.workdir
    print(f"vqjax {__version__} on {devices.describe(planned.layout)}; workdir {display_path(planned.workdir.path)}")
    print(format_config(planned.settings.plain))


def introduce_state(planned: Plan, session: Session, state: TrainState) -> None:
    """Print how much there is of data and parameters, and where a run begins; for a new one also its warnings."""
    print(f"images: {', '.join(f'{len(split):,} {name}' for name, split in session.splits.items())}")
    counts = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in state.params.items()}
    print(wrap(f"parameters: {sum(counts.values()):,} ({', '.join(f'{k} {v:,}' for k, v in counts.items())})"))
    extra = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in state.extra.items()}
    print(wrap(f"without gradients: {', '.join(f'{k} {v:,}' for k, v in extra.items()) or 'none'}"))
    if not state.step:
        for note in _notes(session):
            print(wrap(note))
        return
    print(f"going on from step {int(state.step):,}")
    if "steps" in planned.changes:
        print(wrap(describe_schedule_change(session, planned.changes["steps"][0], int(state.step))))


def describe_schedule_change(session: Session, steps: int, step: int) -> str:
    """How schedules change when a resumed run has a new total number of steps.

    Args:
      session: of the run, with the new number.
      steps: the old number.
      step: from which it is resumed.
    """
    settings = session.settings
    before = dataclasses.replace(settings, steps=steps)
    old, new = (float(create_optimizer(each.optimizer, each.steps)[1](step)) for each in (before, settings))
    rate = f"; the learning rate is {new:.3g}, and would have been {old:.3g}" if new != old else ""
    return (
        f"step {step:,} is {step / settings.steps:.0%} of the run, and was {step / steps:.0%}: schedules go on from "
        f"there{rate}"
    )


def _notes(session: Session) -> list[str]:
    """Lines that a user should read before a new run begins."""
    warnings = datasets.dataset_warnings(session.dataset, session.settings.batch_size)
    notes = [*session.dataset.notes, *session.task.notes, *warnings]
    more = [f"and more: python -m vqjax inspect lists all {len(notes)}"] if len(notes) > _MAX_NOTES else []
    return notes[:_MAX_NOTES] + more
