"""Evaluates a run on its test split again: `python -m vqjax evaluate --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import add_data_flags, parser


def main(arguments: Sequence[str]) -> None:
    flags = parser("evaluate", "Evaluate a run on its test split.", "python -m vqjax evaluate --workdir runs/digits")
    flags.add_argument("--workdir", required=True, help="the run's directory")
    flags.add_argument("--step", type=int, help="of a checkpoint, for evaluations/STEP (default: the chosen one)")
    flags.add_argument("--stage1", help="the autoencoder's run, if it is not where the run was trained on it")
    add_data_flags(flags)
    given = flags.parse_args(arguments)

    from vqjax.runs.workdir import Workdir  # JAX starts here, after the arguments are known to be right
    from vqjax.system.terminal import format_metrics, wrap
    from vqjax.training.evaluation import evaluate, evaluation_dir

    workdir = Workdir(given.workdir)
    step, figures = evaluate(workdir, given.step, given.stage1, given.data_dir, given.data_path)
    print(wrap(f"test, step {step:,}: {format_metrics(figures)}"))
    print(f"written to {evaluation_dir(workdir, given.step) / 'eval.json'}")
