"""Evaluates a run on its test split again: `python -m vqjax.evaluate --help`."""

from collections.abc import Sequence

from vqjax.system.arguments import data_flags, parser
from vqjax.system.process import run


def main(arguments: Sequence[str]) -> None:
    flags = parser("evaluate", "Evaluate a run on its test split.", "python -m vqjax evaluate --workdir runs/digits")
    flags.add_argument("--workdir", required=True, help="the run's directory")
    flags.add_argument("--step", type=int, help="of a checkpoint, for evaluations/STEP (default: the chosen one)")
    flags.add_argument("--stage1", help="the autoencoder's run, if it is not where the run was trained on it")
    data_flags(flags)
    given = flags.parse_args(arguments)

    from vqjax.runs.workdir import Workdir  # JAX starts here, after the arguments are known to be right
    from vqjax.system.terminal import fitted, show
    from vqjax.training.evaluation import evaluate, place

    workdir = Workdir(given.workdir)
    step, figures = evaluate(workdir, given.step, given.stage1, given.data_dir, given.data_path)
    print(fitted(f"test, step {step:,}: {show(figures)}"))
    print(f"written to {place(workdir, given.step) / 'eval.json'}")


if __name__ == "__main__":
    run(main)
