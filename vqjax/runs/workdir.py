"""The workdir: what a run is and how far it has got.

config.json    the config, complete
run.json       the task's facts: of the data, and of stage 1; versions; git commit
checkpoints/   see `vqjax.runs.checkpoints`
pins/          see `vqjax.runs.pins`
.lock          see `vqjax.system.lock`
"""

import hashlib
import importlib.metadata
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.plain import differences
from vqjax.runs.checkpoints import Checkpoints, ShapeMismatch
from vqjax.system.errors import InputError
from vqjax.system.files import read_json, wrap_write_errors, write_json
from vqjax.system.paths import absolute_path
from vqjax.system.version import __version__

FORMAT = 1  # of the workdir, see `vqjax.config.history`; a reader refuses a later one
# What may differ when a run is resumed: how far, how often, on which devices, and where things lie.
RESUMABLE = (
    *("steps", "parallel", "microbatch", "log_every", "eval_every", "save_every", "stage1", "init_from"),
    *(f"data.{name}" for name in ("data_dir", "path", "memory", "workers", "cache")),
)
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "ml-collections", "numpy")


def git_commit() -> str:
    """The commit of the code, with "+changes" if the tree differs from it.

    "unknown" outside a checkout of vqjax: an installed package may lie inside the checkout of something else.
    """
    package = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=package, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return "unknown"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Workdir:
    """A run's directory. Nothing is created before `create`."""

    def __init__(self, path: str | Path, key: str = "--workdir"):
        """`key` is what the user called the path. Raises InputError if it is none of this machine."""
        self.path = absolute_path(path, key)

    @property
    def exists(self) -> bool:
        """Whether a run lives here."""
        return (self.path / "config.json").is_file()

    @property
    def has_facts(self) -> bool:
        """Whether it is known what the run is about."""
        return (self.path / "run.json").is_file()

    def reconcile(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """The fields of a plain `config` that differ from those of the run that lives here: {dotted key: (old, new)}.

        Raises InputError unless a run of `config` can begin or go on here. It cannot if the path holds another run, one
        with more steps already, or something that is no run.
        """
        if not self.exists:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"--workdir={self.path}: expected a directory, found a file")
            if self.path.is_dir() and any(not path.name.startswith(".") for path in self.path.iterdir()):
                raise InputError(f"--workdir={self.path}: expected a run or an empty directory, found other files")
            return {}
        changes = differences(self.raw_config(), config)
        refused = {key: values for key, values in changes.items() if key not in RESUMABLE}
        if refused:
            shown = [f"config.{key}={new!r}, there {old!r}" for key, (old, new) in list(refused.items())[:3]]
            more = [f"and {len(refused) - 3} more"] if len(refused) > 3 else []
            raise InputError("\n".join([f"--workdir={self.path} holds another run:", *shown, *more]))
        if "steps" in changes and (self.path / "checkpoints").is_dir():
            with self.checkpoints(create=True) as checkpoints:
                latest = checkpoints.latest or 0
            if latest > (steps := config["steps"]):
                raise InputError(f"config.steps={steps}: the run in {self.path} has {latest} already")
        return changes

    def create(self, config: Mapping[str, Any], facts: Mapping[str, Any], hardware: str = "") -> None:
        """Write config.json and, if the run is new, run.json.

        Args:
          config: of the run, plain.
          facts: what stage 2 and a reader need to know of the data.
          hardware: that a new run begins on.

        Raises:
          Unwritten: the path cannot be written to.
        """
        versions = {"vqjax": __version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}
        with wrap_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "config.json", config)
        if not self.has_facts:
            run = {"format": FORMAT, **facts, "hardware": hardware, "versions": versions, "git_commit": git_commit()}
            run["command"] = shlex.join(["python", *sys.orig_argv[1:]])
            write_json(self.path / "run.json", run)

    def config(self) -> ConfigDict:
        """The run's config. Raises InputError if no run lives here."""
        return ConfigDict(self.raw_config())

    def raw_config(self) -> dict[str, Any]:
        """config.json as it lies there. Raises InputError if no run lives here."""
        if not self.exists:
            raise InputError(f"--workdir={self.path}: expected a run, found no config.json")
        return self._read("config.json")

    @property
    def identity(self) -> str:
        """Which run it is, however far it is trained: SHA-256 over config.json less what a resumed run may change."""
        recorded = self.raw_config()
        for key in RESUMABLE:
            section, _, name = key.rpartition(".")
            (recorded.get(section, {}) if section else recorded).pop(name, None)
        return hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()

    def facts(self) -> "Facts":
        """run.json. Raises InputError if it is of a format that this version cannot read."""
        run = self._read("run.json")
        number = run.get("format")
        if not isinstance(number, int) or number < 1:
            raise InputError(f"{self.path / 'run.json'}: format={number!r}: expected a number from 1 to {FORMAT}")
        if number > FORMAT:
            raise InputError(
                f"{self.path} was made by a newer vqjax, {_version(run)}: its format is {number}, and this version, "
                f"{__version__}, reads up to {FORMAT}\nExpected that version or a later one: upgrade vqjax"
            )
        return Facts(run)

    @property
    def made_by(self) -> str:
        """The version of vqjax that made the run, as far as run.json tells."""
        return _version(self._read("run.json"))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return dict(read_json(self.path / name))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.path / name} cannot be read: {error}") from error

    def checkpoints(self, create: bool = False) -> Checkpoints:
        """The run's; see there for `create`."""
        return Checkpoints(self.path / "checkpoints", create)

    def restore_variables(self, expected: Any, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """As of `Checkpoints`; where the weights are of another model, the error names the version that made them."""
        with self.checkpoints() as checkpoints:
            try:
                return checkpoints.restore_variables(expected, step)
            except ShapeMismatch as error:
                raise InputError(f"{error}\n{self.path} was made by vqjax {self.made_by}") from error


def _version(run: Mapping[str, Any]) -> str:
    version = dict(run.get("versions", {})).get("vqjax", "0.1.0")  # older runs lack it
    return f"{version}, git commit {run.get('git_commit') or 'unknown'}"


class Facts(dict):
    """What run.json says. Raises InputError for what it does not say."""

    def __missing__(self, name: str) -> Any:
        raise InputError(f"run.json of the run has no {name!r}")
