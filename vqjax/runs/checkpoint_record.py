"""saved.json of a workdir: what it had saved, whatever lies there now.

{"step": the newest that was read again and found whole, or null; "bare": those of older versions, without a record}
"""

from collections.abc import Collection
from pathlib import Path

from vqjax.system.errors import InputError
from vqjax.system.files import read_json, write_json


class CheckpointRecord:
    """What a run's files say of its checkpoints.

    Attributes:
      step: the newest that was found whole; None: none yet, or in an older run it is not known.
      bare: those that may lack a record.
    """

    step: int | None

    def __init__(self, path: Path, steps: Collection[int], recorded: Collection[int], create: bool):
        """Args:
          path: of saved.json; if `create`, it is made where there is none.
          steps: those that lie there.
          recorded: those of them with a record.

        Raises:
          InputError: it cannot be read, or some were saved and all are gone.
        """
        self._path = path
        try:
            found = read_json(path)
            self.step, self.bare = found["step"], {*found["bare"]}
        except FileNotFoundError:
            self.step, self.bare = None, {*steps} - {*recorded}
            if create:
                self.note(None)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if self.step is not None and not steps:
            raise InputError(
                f"{path.with_name('checkpoints')}: expected the checkpoint of step {self.step:,}, which was saved; it "
                "is gone, and so are all others\nPut them back, or begin again in another --workdir"
            )

    def note(self, step: int | None) -> None:
        """Writes down that a step was found whole."""
        self.step = step
        write_json(self._path, {"step": step, "bare": sorted(self.bare)})
