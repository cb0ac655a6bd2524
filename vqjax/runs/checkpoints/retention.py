"""Retention: which checkpoints of a run stay, by their records."""

from collections.abc import Collection, Mapping

from vqjax.runs.checkpoints.record import Record

_LATEST = 2  # checkpoints that stay because they are the newest


def best_step(records: Mapping[int, Record]) -> int | None:
    """Return the step with the lowest monitored figure, of equal ones the latest; None if none has a figure."""
    ranked = [(record.monitored, -step) for step, record in records.items() if record.monitored is not None]
    return -min(ranked)[1] if ranked else None


def kept_steps(records: Mapping[int, Record], pinned: Collection[int]) -> set[int]:
    """Return the steps that stay: the newest two, the best one, and those of `pinned` that are there."""
    newest = sorted(records, reverse=True)[:_LATEST]
    return {*records} & {*newest, best_step(records), *pinned}
