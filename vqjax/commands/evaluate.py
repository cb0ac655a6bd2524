"""Evaluates a trained run again: `vqjax evaluate --help`."""

from typing import Any

from vqjax.commands.report import Report
from vqjax.system.arguments import (
    Parser,
    add_data_flags,
    add_output_flags,
    add_split,
    add_stage1,
    add_step,
    whole_number,
)
from vqjax.system.errors import InputError
from vqjax.system.terminal import format_metrics, starting_jax, wrap
from vqjax.system.text import printable_lines

_WITH_FEATURES = {"num": None, "seed": None, "cas": False}  # flags that need --features, and their defaults


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    arguments = Parser("evaluate", "runs/digits", description="Evaluate a checkpoint of a run on a split of its data.")
    arguments.add_workdir("a run")
    add_step(arguments)
    add_split(arguments, "test")
    add_stage1(arguments)
    _add_features(arguments)
    add_data_flags(arguments)
    add_output_flags(arguments)
    return arguments


def _add_features(arguments: Parser) -> None:
    """Add the evaluation by features."""
    text = "instead of the usual metrics, compare reconstructions or samples with test images by the features of the"
    arguments.add_argument("--features", metavar="RUN", help=f"{text} classifier in this workdir; see docs/metrics.md")
    text = "with --features: number of images of each set (default: as many as test has)"
    arguments.add_argument("--num", type=whole_number, metavar="N", help=text)
    text = "with --features: same seed, same figures (default: 0)"
    arguments.add_argument("--seed", type=whole_number, metavar="N", help=text)
    text = "with --features, of a prior: train that classifier on samples alone, and read test images with it"
    arguments.add_argument("--cas", action="store_true", help=text)


def run(given: Any) -> Report:
    """Evaluate, and return the metrics."""
    if given.features is not None:
        return _compare_features(given)
    for name, default in _WITH_FEATURES.items():
        if getattr(given, name) != default:
            raise InputError(f"--{name}: expected with --features")
    with starting_jax():
        from vqjax.runs.reports.likelihood import describe_steps
        from vqjax.runs.workdir import Workdir
        from vqjax.training.evaluation import evaluate, evaluation_dir

    workdir, split = Workdir(given.workdir), given.split
    step, metrics = evaluate(workdir, given.step, given.stage1, given.data_dir, given.data_path, split)
    path = evaluation_dir(workdir, given.step, split) / "eval.json"
    described = [f"{split}, step {step:,}: {format_metrics(metrics)}", *describe_steps(metrics)]
    lines = [*map(wrap, described), f"written to {path}"]
    return Report(lines, {"step": step, "split": split, **metrics, "written": [str(path)]})


def _compare_features(given: Any) -> Report:
    """Evaluate by features, and return the figures."""
    if given.split != "test":
        raise InputError(f"--split={given.split}: expected test with --features")
    with starting_jax():
        from vqjax.inference.features.evaluation import evaluate_features
        from vqjax.runs.devices import set_cpu_device_count
        from vqjax.runs.reports.features import describe_features, table

    set_cpu_device_count()
    options = {name: getattr(given, name) for name in ("num", "cas", "step", "stage1", "data_dir", "data_path")}
    content, path, status = evaluate_features(given.workdir, given.features, seed=given.seed or 0, **options)
    lines = [*map(wrap, describe_features(content)), table(content), f"written to {path}"]
    return Report([*map(printable_lines, lines)], {**content, "written": [str(path)]}, status)
