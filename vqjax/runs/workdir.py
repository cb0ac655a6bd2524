"""The workdir: what a run is and how far it has got.

config.json    the config, complete
run.json       facts about the data and about stage 1; how the run was made: hardware, versions, git commit, command
saved.json     see `vqjax.runs.checkpoints.saved`
checkpoints/   see `vqjax.runs.checkpoints`
pins/          see `vqjax.runs.checkpoints.pins`
.lock          see `vqjax.system.lock`
"""

import contextlib
import hashlib
import importlib.metadata
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from vqjax.config.annotations import Positive, Range
from vqjax.config.check import check_value
from vqjax.config.plain import differences
from vqjax.runs.checkpoints import Checkpoints, ShapeMismatch
from vqjax.runs.checkpoints.checksums import json_checksum
from vqjax.system.errors import InputError
from vqjax.system.files import read_json, wrap_write_errors, write_json
from vqjax.system.paths import absolute_path
from vqjax.system.version import __version__

FORMAT = 1  # of the workdir; a reader refuses a later one
# Fields that may change when a run is resumed: how far, how often, on which devices, and where things lie.
RESUMABLE = (
    *("steps", "parallel", "microbatch", "log_every", "eval_every", "save_every", "tracker"),
    *("stage1", "top_prior", "init_from"),
    *(f"data.{name}" for name in ("data_dir", "path", "memory", "workers", "cache")),
)
_FACTS: dict[str, Any] = {  # what those that are there must be
    "dataset": str,
    "image_shape": tuple[Positive, ...],
    "class_names": tuple[str, ...],
    "variance": Annotated[float, Range(0, open_min=True)],
    "grid": tuple[Positive, ...],
    "stage1": str,
    "stage1_run": str,
}
_MAKING = ("format", "hardware", "versions", "git_commit", "command")  # fields of run.json that are no facts
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "ml-collections", "numpy")


def git_commit() -> str:
    """Return the commit of the code, with "+changes" if the tree differs from it.

    It is "unknown" outside a checkout of vqjax: an installed package may lie inside the checkout of something else.
    """
    package = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=package, capture_output=True, text=True, check=True)
        return result.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return "unknown"
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions() -> dict[str, str]:
    """Return the versions of vqjax and of the packages it stands on, less those that are not installed."""
    versions = {"vqjax": __version__}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


class Workdir:
    """The directory of a run. Nothing is written before `create`."""

    def __init__(self, path: str | Path, key: str = "--workdir"):
        """`key` is the flag that named the path. Raises InputError if it is no path of this machine."""
        self.path = absolute_path(path, key)

    @property
    def exists(self) -> bool:
        """Whether a run lives here."""
        return (self.path / "config.json").is_file()

    @property
    def has_facts(self) -> bool:
        """Whether run.json is there."""
        return (self.path / "run.json").is_file()

    def reconcile(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return {dotted key: (old, new)} of the fields of a plain config that differ from the run that lives here.

        Raises InputError unless a run of `config` can begin or be resumed here. It cannot if the path holds another
        run, one with more steps already, or something that is no run.
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
          facts: about the data and stage 1, for stage 2 and for readers.
          hardware: that a new run begins on.

        Raises:
          WriteError: the path cannot be written to.
        """
        with wrap_write_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "config.json", config)
        if not self.has_facts:
            run = {"format": FORMAT, **facts, "hardware": hardware, "versions": _versions(), "git_commit": git_commit()}
            run["command"] = shlex.join(["python", *sys.orig_argv[1:]])
            write_json(self.path / "run.json", run)

    def config(self) -> ConfigDict:
        """Return the config of the run. Raises InputError if no run lives here."""
        return ConfigDict(self.raw_config())

    def raw_config(self) -> dict[str, Any]:
        """Return the content of config.json. Raises InputError if no run lives here."""
        if not self.exists:
            raise InputError(f"--workdir={self.path}: expected a run, found no config.json")
        return self._read("config.json")

    @property
    def identity(self) -> str:
        """SHA-256 over config.json without the fields that may change on resume: the same however far it is trained."""
        fields = traverse_util.flatten_dict(self.raw_config(), sep=".")
        return json_checksum({key: value for key, value in fields.items() if key not in RESUMABLE})

    def fingerprint(self, variables: Mapping[str, Any]) -> str:
        """Return the SHA-256 over variables of the run and its model's config, as config.json has it, hexadecimal."""
        digest = hashlib.sha256(json.dumps(self.raw_config()["model"], sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()

    @property
    def checksums(self) -> dict[str, str]:
        """{file name: checksum} of what config.json and run.json say of the run; a checkpoint is of these alone.

        Fields that may change on resume, and how the run was made, are left out.
        """
        checksums = {"config.json": self.identity} if self.exists else {}
        if self.has_facts:
            facts = {name: value for name, value in self.facts().items() if name not in _MAKING}
            checksums["run.json"] = json_checksum(facts)
        return checksums

    def facts(self) -> "Facts":
        """Return the content of run.json. Raises InputError if it is damaged, or of a format of a later version."""
        run = self._read("run.json")
        number = run.get("format")
        if type(number) is not int or number < 1:
            raise InputError(f"{self.path / 'run.json'}: format={number!r}: expected a number from 1 to {FORMAT}")
        if number > FORMAT:
            raise InputError(
                f"{self.path} was made by a newer vqjax, {_version(run)}: its format is {number}, and this version, "
                f"{__version__}, reads up to {FORMAT}\nExpected that version or a later one: upgrade vqjax"
            )
        for name, kind in _FACTS.items():
            if name in run:
                check_value(run[name], kind, f"{self.path / 'run.json'}: {name}")
        return Facts(run)

    @property
    def made_by(self) -> str:
        """The version of vqjax that made the run, and its git commit."""
        return _version(self._read("run.json"))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = read_json(self.path / name)
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.path / name} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise InputError(f"{self.path / name} cannot be read: expected a JSON object")
        return content

    def checkpoints(self, create: bool = False) -> Checkpoints:
        """Return the checkpoints of the run. For `create` and the errors see `Checkpoints`."""
        return Checkpoints(self.path / "checkpoints", create, self.checksums)

    def restore_variables(self, expected: Any, step: int | None = None) -> tuple[int, dict[str, Any]]:
        """Restore variables as `Checkpoints` does; an error about other shapes names the version that made them."""
        with self.checkpoints() as checkpoints:
            try:
                return checkpoints.restore_variables(expected, step)
            except ShapeMismatch as error:
                raise InputError(f"{error}\n{self.path} was made by vqjax {self.made_by}") from error


def _version(run: Mapping[str, Any]) -> str:
    versions = run.get("versions")
    version = versions.get("vqjax", "unknown") if isinstance(versions, Mapping) else "unknown"
    return f"{version}, git commit {run.get('git_commit') or 'unknown'}"


class Facts(dict):
    """The content of run.json. A field that it lacks is an InputError."""

    def __missing__(self, name: str) -> Any:
        raise InputError(f"run.json of the run has no {name!r}")
