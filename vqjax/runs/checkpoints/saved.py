"""saved.json of a workdir: {"step": the newest that was read back and found whole, or null}.

With it a run whose checkpoints were lost does not begin again at step 0 without a word.
"""

from collections.abc import Collection
from pathlib import Path

from vqjax.system.errors import InputError
from vqjax.system.files import read_json, write_json


class SavedStep:
    """The newest step that a run had on disk, whether its checkpoint is still there or not.

    Attributes:
      step: that step; None if nothing was saved yet.
    """

    step: int | None = None

    def __init__(self, path: Path, steps: Collection[int], create: bool):
        """Args:
          path: of saved.json; if `create`, it is made where there is none.
          steps: the steps of the checkpoints that are there.

        Raises:
          InputError: the file cannot be read, or checkpoints were saved and all are gone.
        """
        self._path = path
        try:
            self.step = read_json(path)["step"]
        except FileNotFoundError:
            if create:
                write_json(path, {"step": None})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if self.step is not None and not steps:
            raise InputError(
                f"{path.with_name('checkpoints')}: expected the checkpoint of step {self.step:,}, which was saved; it "
                "is gone, and so are all others\nPut them back, or begin again in another --workdir"
            )

    def note(self, step: int) -> None:
        """Write down that the checkpoint of `step` was read back and found whole. Raises WriteError."""
        self.step = step
        write_json(self._path, {"step": step})
