"""Ending of a run: whether it is finished, its metrics on test, and its summary."""

import shlex
from collections.abc import Sequence

from vqjax.runs.devices import processes
from vqjax.runs.reports.lines import phase_seconds
from vqjax.runs.reports.report import write_report
from vqjax.runs.shared import SharedCheckpoints, shared_variables
from vqjax.runs.workdir import Workdir
from vqjax.system.files import read_json
from vqjax.system.terminal import display_path, format_metrics, summary, timed, wrap
from vqjax.training.evaluation import Evaluator
from vqjax.training.final_figures import Evaluated, add_final_figures, has_final_figures
from vqjax.training.setup import Plan, Session


def is_finished(planned: Plan) -> bool:
    """Whether the run has all its steps and its evaluation; if so, says so and records what has changed."""
    workdir, task = planned.workdir, planned.task
    assert workdir
    if not processes.broadcast_json((workdir.path / "checkpoints").is_dir() and workdir.exists):
        return False
    with SharedCheckpoints(workdir) as checkpoints:
        latest, best = checkpoints.latest or 0, checkpoints.best_or_latest
        if latest < planned.settings.steps or not _is_tested(workdir, best):
            return False
        if not checkpoints.is_intact(task.abstract_variables):
            return False
    if planned.changes:
        planned.record()
    result = _result(workdir, task.headline)
    print(wrap(f"{display_path(workdir.path)} is finished after {latest:,} steps: {result}"))
    print("To train on, raise its config.steps; to start afresh, name another --workdir.")
    return True


def finish(
    session: Session, workdir: Workdir, evaluator: Evaluator, next_commands: Sequence[str] | None = None
) -> None:
    """End a finished run: the best checkpoint's metrics on test, if they are missing, the report and the summary.

    The summary shows the next commands that are given, or else those of the task.
    """
    with SharedCheckpoints(workdir) as checkpoints:
        step = checkpoints.best_or_latest
    if not _is_tested(workdir, step):
        step, variables = shared_variables(workdir, step, session.task.abstract_variables)
        with timed(f"evaluating step {step:,} on test"):
            evaluator.evaluate(step, "test", session.splits["test"], session.layout.replicate(variables))
    if processes.is_leader() and has_final_figures(session.task):
        _, variables = workdir.restore_variables(session.task.abstract_variables, step)
        read = session.splits.__getitem__
        add_final_figures(Evaluated(session.task, variables, workdir.path, workdir.path, read))
    write_report(workdir)
    commands = next_commands
    if commands is None:
        commands = session.task.next_commands(shlex.quote(display_path(workdir.path)))
    result = _result(workdir, session.task.headline)
    print(summary(workdir.path, result, commands, phase_seconds(workdir.path)))


def _is_tested(workdir: Workdir, step: int | None) -> bool:
    """Whether eval.json is there and about this step on the test split."""
    try:
        metrics = dict(read_json(workdir.path / "eval.json"))
    except (OSError, ValueError, TypeError, RecursionError):  # none, or a damaged one: it is made again
        metrics = {}
    return bool(processes.broadcast_json({"step": step, "split": "test"}.items() <= metrics.items()))


def _result(workdir: Workdir, names: Sequence[str]) -> str:
    """The metrics of eval.json for a person."""
    metrics = read_json(workdir.path / "eval.json")
    return f"{metrics['split']}, step {metrics['step']:,}: {format_metrics(metrics, names)}"
