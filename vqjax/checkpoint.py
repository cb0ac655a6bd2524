"""The workdir: what a run is and how far it has got. The only importer of Orbax.

config.json    the config, complete
run.json       the task's facts: of the data, and of stage 1; versions; git commit
checkpoints/   <step>/{model,optimizer,window}: variables, Optax's state, the metrics' running mean
"""

import importlib.metadata
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

from vqjax.config import InputError, differences
from vqjax.files import read_json, write_json
from vqjax.steps import TrainState

FORMAT = 1  # of the workdir; a reader refuses what it does not know
# What may differ when a run is resumed: how far, how often, on which devices, and where things lie.
RESUMABLE = ("steps", "parallel", "log_every", "eval_every", "save_every", "data.data_dir", "stage1")
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "ml-collections", "numpy")

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs a paragraph per save

# Of the reads that fail together when a checkpoint is damaged, Orbax raises one error. The others are reported from
# other threads when its event loop has gone, at any time until the process ends.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
_unraisable = sys.unraisablehook
sys.unraisablehook = lambda error: str(error.exc_value) == "Event loop is closed" or _unraisable(error)


def git_commit() -> str:
    """The commit of the code, with "+changes" if the tree differs from it; "unknown" outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Workdir:
    """A run's directory. Nothing is created before `create`."""

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()

    @property
    def exists(self) -> bool:
        """Whether a run lives here."""
        return (self.path / "config.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether it is known what the run is about."""
        return (self.path / "run.json").is_file()

    def check(self, config: ConfigDict) -> dict[str, tuple[Any, Any]]:
        """The differences that a resume with `config` may have from the run that lives here.

        Raises InputError if the path holds another run, one with more steps already, or something that is no run.
        """
        if not self.exists:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"--workdir={self.path}: expected a directory, found a file")
            if self.path.is_dir() and any(not path.name.startswith(".") for path in self.path.iterdir()):
                raise InputError(f"--workdir={self.path}: expected a run or an empty directory, found other files")
            return {}
        found = differences(self.config().to_dict(), _plain(config))
        changed = {key: values for key, values in found.items() if key not in RESUMABLE}
        if changed:
            shown = [f"config.{key}={new!r}, there {old!r}" for key, (old, new) in list(changed.items())[:3]]
            more = [f"and {len(changed) - 3} more"] if len(changed) > 3 else []
            raise InputError("\n".join([f"--workdir={self.path} holds another run:", *shown, *more]))
        if "steps" in found and (self.path / "checkpoints").is_dir():
            with Checkpoints(self) as checkpoints:
                latest = checkpoints.latest or 0
            if latest > config.steps:
                raise InputError(f"config.steps={config.steps}: the run in {self.path} has {latest} already")
        return found

    def create(self, config: ConfigDict, facts: Mapping[str, Any]) -> None:
        """Writes config.json and, if the run is new, run.json.

        Args:
          config: of the run.
          facts: what stage 2 and a reader need to know of the data.

        Raises:
          InputError: the path cannot be written to.
        """
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.path / "config.json", _plain(config))
            if not self.begun:
                run = {"format": FORMAT, **facts, "versions": versions, "git_commit": git_commit()}
                write_json(self.path / "run.json", run)
        except OSError as error:
            raise InputError(f"--workdir={self.path} cannot be written to: {error.strerror}") from error

    def config(self) -> ConfigDict:
        """The run's config. Raises InputError if no run lives here."""
        if not self.exists:
            raise InputError(f"--workdir={self.path}: expected a run, found no config.json")
        return ConfigDict(self._read("config.json"))

    def facts(self) -> "Facts":
        """run.json. Raises InputError if it is of a format that this version cannot read."""
        run = self._read("run.json")
        if run.get("format") != FORMAT:
            raise InputError(f"{self.path}: format {run.get('format')}, but this version reads {FORMAT}")
        return Facts(run)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(read_json(self.path / name))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.path / name} cannot be read: {error}") from error


def _plain(config: ConfigDict) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return jax.tree.map(
        lambda x: list(x) if isinstance(x, tuple) else x, config.to_dict(), is_leaf=lambda x: isinstance(x, tuple)
    )


class Facts(dict):
    """What run.json says. Raises InputError for what it does not say."""

    def __missing__(self, name: str) -> Any:
        raise InputError(f"run.json of the run has no {name!r}")


def restore_variables(workdir: Workdir, task: Any, step: int | None = None) -> tuple[int, dict[str, Any]]:
    """The step and the variables {"params", collection, ...} of a checkpoint of a trained run.

    Args:
      workdir: of the run.
      task: made of its config.
      step: of the checkpoint; by default the best one by the validation share, or else the last.

    Raises:
      InputError: there is no such checkpoint, it is damaged, or it is not of the task's model.
    """
    with Checkpoints(workdir) as checkpoints:
        step, variables = checkpoints.restore_variables(step)
    _check_leaves(variables, jax.eval_shape(task.init, jax.random.key(0)), f"{checkpoints.directory}/{step}")
    return step, variables


class Checkpoints:
    """The latest two checkpoints of a run, and the best one by the monitored figure where that is known.

    Raises InputError if there is no directory of checkpoints and none is to be made (`create`).
    """

    def __init__(self, workdir: Workdir, create: bool = False):
        keep = [
            checkpoint_managers.LatestN(n=2),
            checkpoint_managers.BestN(
                get_metric_fn=_monitored, reverse=True, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_monitored,
            best_mode="min",
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
            create=False,
        )
        self.directory = workdir.path / "checkpoints"
        if create:
            self.directory.mkdir(parents=True, exist_ok=True)
        elif not self.directory.is_dir():
            raise InputError(f"{self.directory}: expected a checkpoint, found none")
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The newest step on disk."""
        return self._manager.latest_step()

    @property
    def chosen(self) -> int | None:
        """The best step by the monitored figure if there is one, else the latest."""
        return self._manager.best_step() if self._best_known else self.latest

    @property
    def _best_known(self) -> bool:
        return any(self._manager.metrics(step) for step in self._manager.all_steps())

    def save(self, state: TrainState, window: Mapping[str, Any], monitored: float | None = None) -> None:
        """Saves a state of host arrays and the metrics' running mean, in the background.

        Args:
          state: the state after `state.step` updates.
          window: `Mean.state` of the metrics since the last logged line.
          monitored: the figure that the best checkpoint has lowest, if it was measured at this step.
        """
        items = ocp.args.Composite(
            model=ocp.args.StandardSave(state.variables),
            optimizer=ocp.args.StandardSave(state.opt_state),
            window=ocp.args.StandardSave(dict(window)),
        )
        # A figure that is not finite must not pass for the best: nothing compares as less than NaN.
        metrics = None if monitored is None else {"monitored": monitored if np.isfinite(monitored) else np.inf}
        if not self._manager.save(int(state.step), args=items, metrics=metrics):
            raise RuntimeError(f"Orbax did not save step {int(state.step)} in {self.directory}")

    def wait(self) -> None:
        """Returns when every save is on disk."""
        self._manager.wait_until_finished()

    def restore(self, target: TrainState) -> tuple[TrainState, dict]:
        """The latest state and metrics' running mean.

        Args:
          target: a state whose leaves have the shapes and dtypes to expect.

        Raises:
          InputError: a leaf on disk has another shape or dtype, or the checkpoint is damaged.
        """
        step = self.latest
        items = ocp.args.Composite(
            model=ocp.args.StandardRestore(),
            optimizer=ocp.args.StandardRestore(_host_zeros(target.opt_state)),
            window=ocp.args.StandardRestore(),
        )
        restored = self._read(step, items)
        variables = dict(restored["model"])
        params = variables.pop("params")
        state = TrainState(np.int32(step), params, variables, restored["optimizer"])
        _check_leaves(state, target, f"{self.directory}/{step}")
        return state, restored["window"]

    def restore_variables(self, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """The step and the variables {"params", collection, ...} of a checkpoint; the chosen one by default.

        Raises InputError if there is no such checkpoint, or it is damaged.
        """
        step = self.chosen if step is None else step
        if step is None:
            raise InputError(f"{self.directory}: expected a checkpoint, found none")
        if step not in self._manager.all_steps():
            kept = ", ".join(map(str, sorted(self._manager.all_steps())))
            raise InputError(f"--step={step}: no such checkpoint in {self.directory}\nKept: {kept}")
        return step, self._read(step, ocp.args.Composite(model=ocp.args.StandardRestore()))["model"]

    def _read(self, step: int, items: ocp.args.Composite) -> Mapping[str, Any]:
        try:
            return self._manager.restore(step, args=items)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).partition("\n")[0][:200]
            raise InputError(f"{self.directory}/{step} cannot be read: {reason}") from error


def _monitored(metrics: Mapping[str, float] | None) -> float:
    return metrics["monitored"] if metrics else float("inf")


def _host_zeros(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)


def _check_leaves(state: Any, target: Any, where: str) -> None:
    """Raises InputError unless both trees have leaves of the same names, shapes and dtypes."""

    def kinds(tree: Any) -> dict[str, str]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}" for path, leaf in leaves}

    for name, (found, expected) in differences(kinds(state), kinds(target)).items():
        raise InputError(f"{where}: {name} is {found or 'missing'}, expected {expected or 'nothing of that name'}")
