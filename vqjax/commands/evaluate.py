"""Evaluates a trained run again: `vqjax evaluate --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.system.arguments import Parser, add_data_flags, add_output_flags, add_split, add_stage1, add_step
from vqjax.system.terminal import format_metrics, starting_jax, wrap


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    arguments = Parser("evaluate", "runs/digits", description="Evaluate a checkpoint of a run on a split of its data.")
    arguments.add_workdir("a run")
    add_step(arguments)
    add_split(arguments, "test")
    add_stage1(arguments)
    add_data_flags(arguments)
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Evaluate, and return the metrics."""
    with starting_jax():
        from vqjax.runs.workdir import Workdir
        from vqjax.training.evaluation import evaluate, evaluation_dir

    workdir, split = Workdir(given.workdir), given.split
    step, metrics = evaluate(workdir, given.step, given.stage1, given.data_dir, given.data_path, split)
    path = evaluation_dir(workdir, given.step, split) / "eval.json"
    lines = [wrap(f"{split}, step {step:,}: {format_metrics(metrics)}"), f"written to {path}"]
    return Report(lines, {"step": step, "split": split, **metrics, "written": [str(path)]})
