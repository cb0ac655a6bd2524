"""The record of a checkpoint: what it is, and checksums over all that it holds and hangs on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from vqjax.runs.checkpoints.checksums import verified, with_checksum
from vqjax.system.errors import InputError
from vqjax.system.files import read_json, write_json

_FILE = Path("record", "metadata")  # in a checkpoint's directory: where Orbax writes the JSON item "record"


class Damaged(InputError):
    """A checkpoint that cannot be read, or is not what was saved."""

    @classmethod
    def by(cls, error: Exception, directory: Path) -> Self:
        """Return the error of a directory; the first line of `error` is the reason: Orbax raises many kinds."""
        reason = (str(error) or type(error).__name__).partition("\n")[0][:200]
        return cls(f"{directory} cannot be read: {reason}")


class Record(NamedTuple):
    """The record of a checkpoint.

    Attributes:
      step: training steps so far.
      skipped: steps that were not finite and changed nothing.
      consecutive_skips: the latest of them in succession.
      monitored: the figure that the best checkpoint has lowest; None if it was not measured, or is not finite.
      workdir: {file name: checksum} of the files beside the checkpoints that say what the run is.
      leaves: {item: {leaf: checksum}} of all arrays.
    """

    step: int
    skipped: int
    consecutive_skips: int
    monitored: float | None
    workdir: Mapping[str, str]
    leaves: Mapping[str, Mapping[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object with a checksum over it."""
        return with_checksum(self._asdict())


def read_record(directory: Path) -> Record:
    """Read the record of the checkpoint in `directory`, which is named after its step.

    Raises Damaged if there is none, it was changed, or it is that of another step.
    """
    try:
        record = Record(**verified(read_json(directory / _FILE)))
        if str(record.step) != directory.name:
            raise ValueError(f"it is that of step {record.step}")
        return record
    except FileNotFoundError as error:
        raise Damaged.by(ValueError("it has no record"), directory) from error
    except Exception as error:  # what damaged JSON gives is of any type and nesting
        raise Damaged.by(error, directory) from error


def write_record(directory: Path, record: Record) -> None:
    """Replace the record of the checkpoint in `directory`. Raises WriteError."""
    write_json(directory / _FILE, record.to_json())
