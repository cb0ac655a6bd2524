"""Training from Python, and its result."""

import contextlib
import functools
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.annotations import Natural
from vqjax.config.check import check_value
from vqjax.inference.base import read_metrics
from vqjax.inference.models import Classifier, Prior, Tokenizer, load
from vqjax.system import output
from vqjax.system.arguments import argument_names
from vqjax.training import loop


class Result:
    """Result of a training.

    Attributes:
      status: 0; 3 if the run diverged; or 128 + the signal that stopped it after it had saved its last step.
      workdir: of the run.
    """

    def __init__(self, status: int, workdir: Path):
        self.status, self.workdir = status, workdir

    def __repr__(self) -> str:
        return f"<result of {self.workdir}, status {self.status}>"

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics in the run's eval.json, with the split and the step that they are of; {} if there is none."""
        return read_metrics(self.workdir)

    @functools.cached_property
    def model(self) -> Tokenizer | Prior | Classifier:
        """The trained model, loaded when it is first asked for."""
        return load(self.workdir)


@argument_names()
def train(
    config: ConfigDict, workdir: str | Path, debug_nans: bool = False, profile: int = 0, quiet: bool = False
) -> Result:
    """Train, or resume, the run that `config` describes in `workdir`.

    Args:
      config: of the run.
      workdir: its place.
      debug_nans: stop at the first step that is not finite, and name the operation.
      profile: number of steps to write a trace of, to `profile/` in the workdir.
      quiet: print nothing but errors.

    Returns:
      The result, also of a run that was finished before.

    Raises:
      ValueError: the config, the data or the workdir is unfit, or another process trains there. Nothing is compiled or
        written then.
    """
    check_value(profile, Natural, "profile")
    with output.quiet() if quiet else contextlib.nullcontext():
        status = loop.train(config, workdir, debug_nans, profile)
    return Result(status, Path(workdir).expanduser().absolute())
