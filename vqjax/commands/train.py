"""Trains what a config describes: `vqjax train --help`."""

import gc
import shlex
from typing import Any

from vqjax.commands.report import Report
from vqjax.config.annotations import Natural
from vqjax.config.check import check_value
from vqjax.config.flags import ConfigParser
from vqjax.config.schema import Settings
from vqjax.system import cluster, signals
from vqjax.system.arguments import add_output_flags, program
from vqjax.system.errors import InputError
from vqjax.system.terminal import starting_jax

_TRIALS: dict[str, tuple[int | bool | str, str]] = {
    "smoke": (False, "run every phase in seconds, on little data, in a workdir that is removed"),
    "overfit": (0, "train on the first N images only, over and over: the loss must fall"),
    "profile": (0, "write a trace of N steps to the workdir, for Perfetto or TensorBoard"),
    "debug_nans": (False, "stop at the first step that is not finite, and name the operation"),
}


def parser() -> ConfigParser:
    """Return the parser of the command's arguments."""
    description = "Train what a config describes. The same command again resumes from the latest checkpoint."
    example = "--config digits --workdir runs/wide --config.model.deepmind.width=128"
    arguments = ConfigParser("train", description, example)
    arguments.add_options({**_TRIALS, **cluster.FLAGS})
    add_output_flags(arguments, progress_is_output=True)
    return arguments


def run(given: Any) -> Report | int:
    """Train, and return the metrics; the status alone in a process that is not the first one of several."""
    trials = [f"--{name}" for name in ("smoke", "overfit", "profile") if getattr(given, name)]
    if len(trials) > 1:
        raise InputError(f"{' and '.join(trials)}: expected one of them")
    check_value(given.profile, Natural, "--profile")
    spec = cluster.cluster_spec(*(getattr(given, name) for name in cluster.FLAGS))

    # Of several processes the first one says it, or each that a cluster has yet to number.
    with starting_jax(spec is None or spec.process < 1):
        from vqjax.runs.devices import processes

    status = processes.run(spec, lambda: _train(given))
    return _report(given, status) if given.json and processes.is_leader() else status


def _report(given: Any, status: int) -> Report:
    """Return the status, the workdir and the metrics of a training; those of a smoke test are none."""
    from vqjax.inference.base import read_metrics
    from vqjax.training.trials import overfit_workdir

    values: dict[str, Any] = {"status": status}
    if not given.smoke:
        workdir = overfit_workdir(given.workdir) if given.overfit else given.workdir
        values |= {"workdir": str(workdir), "metrics": read_metrics(workdir)}
    return Report([], values, status)


def _train(given: Any) -> int:
    from vqjax.training import loop, trials

    if signals.exit_allowed():
        gc.freeze()  # imported modules live to the end: they need not be collected again and again
    if given.smoke:
        words = [word for word in given.typed if word != "--smoke"]
        command = f"{program('train')} {shlex.join(words)}"
        return trials.smoke(Settings.of(given.config), given.workdir, given.debug_nans, command)
    if given.overfit:
        return trials.overfit(Settings.of(given.config), given.workdir, given.overfit, given.debug_nans)
    return loop.train(given.config, given.workdir, given.debug_nans, given.profile)
