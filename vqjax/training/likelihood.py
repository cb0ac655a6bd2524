"""Distribution of the pixels of a finished run, fitted to its best checkpoint, and their bits in eval.json."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vqjax.data.splits import Split
from vqjax.runs.side_jobs import side_job
from vqjax.system.files import read_json, write_json
from vqjax.system.terminal import timed
from vqjax.tasks.base import Task
from vqjax.tasks.pixels import PixelBits, needs_distribution, read_distribution, write_distribution


def add_pixel_bits(
    task: Task, variables: Mapping[str, Any], workdir: Path, directory: Path, read: Callable[[str], Split]
) -> dict[str, float]:
    """Add `bits_per_dim_given_codes` to the eval.json of an evaluation, and write likelihood.json.

    A side job: if it fails, that costs a line, and the figure.

    Args:
      task: whose run it is. Nothing happens unless it `needs_distribution`.
      variables: of the checkpoint, on the host.
      workdir: of the run.
      directory: of eval.json.
      read: gives a split by its name.

    Returns:
      The figures that were added.
    """
    if not needs_distribution(task):
        return {}
    with side_job("the bits of pixels are not known"), timed("bits of pixels"):
        evaluation = read_json(directory / "eval.json")
        bits, step = PixelBits(task, variables), evaluation["step"]
        distribution = read_distribution(workdir, step)
        if distribution is None:
            distribution = bits.fit(read("train"))
            if directory == workdir:  # of the best checkpoint, which second stages stand on
                write_distribution(workdir, step, distribution)
        figures = {"bits_per_dim_given_codes": bits.measure(read(evaluation["split"]), distribution)}
        write_json(directory / "eval.json", {**evaluation, **figures})
        return figures
    return {}
