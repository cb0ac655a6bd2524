"""Arrays and JSON in a directory per step. The only importer of Orbax.

<step>/{item}/             a tree of arrays
<step>/record/metadata     a JSON object
"""

import contextlib
import functools
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqjax.system.files import WriteError


@functools.cache
def _orbax() -> Any:
    """Import Orbax. That takes a quarter of a second, for which a new run need not wait before its first save."""
    import orbax.checkpoint

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs a paragraph per save, and what it raises as well
    # Of the reads that fail together when a checkpoint is damaged, Orbax raises one error. The others are reported from
    # other threads when its event loop has gone, at any time until the process ends.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda error: str(error.exc_value) == "Event loop is closed" or unraisable(error)
    return orbax.checkpoint


class Storage:
    """Trees of host arrays on disk, a directory per step, which appears whole or not at all."""

    def __init__(self, directory: Path):
        self.directory = directory
        self._needed = 0  # bytes of the latest save

    @functools.cached_property
    def _checkpointer(self) -> Any:
        orbax, multiprocessing = _orbax(), _alone()
        options = orbax.CompositeOptions(multiprocessing_options=multiprocessing)
        handler = orbax.CompositeCheckpointHandler(composite_options=options)
        return orbax.AsyncCheckpointer(handler, multiprocessing_options=multiprocessing)

    def save(self, step: int, items: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Write trees of arrays and a record, in the background. Raises WriteError if a disk has no room."""
        args = _orbax().args
        arguments = {name: args.StandardSave(tree) for name, tree in items.items()}
        if not self._needed:
            self._remove_leftovers()
        self._needed = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(items))
        with self._write_errors():
            composite = args.Composite(**arguments, record=args.JsonSave(dict(record)))
            self._checkpointer.save(self.directory / str(step), args=composite)

    def wait(self) -> None:
        """Return when the latest save is on disk. Raises WriteError if it cannot be."""
        if "_checkpointer" in vars(self):
            with self._write_errors():
                self._checkpointer.wait_until_finished()

    def restore(self, step: int, items: Mapping[str, Any]) -> dict[str, Any]:
        """Read {item: tree of arrays} of a step.

        Args:
          step: its directory.
          items: {item: a tree of the structure, shapes and dtypes to expect, or None for nested dicts as they are}.

        Raises:
          Exception: of any type, if the files are damaged.
        """
        args = _orbax().args
        composite = args.Composite(**{name: args.StandardRestore(target) for name, target in items.items()})
        return dict(self._checkpointer.restore(self.directory / str(step), args=composite).items())

    def close(self) -> None:
        """Wait for the latest save, and end Orbax's threads. Raises WriteError."""
        if "_checkpointer" in vars(self):
            with self._write_errors():
                self._checkpointer.close()

    def _remove_leftovers(self) -> None:
        """Remove what is left of saves and deletions that were cut off."""
        for pattern in ("*.orbax-checkpoint-tmp", "*.deleted-*"):
            for path in self.directory.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        """While entered, raise WriteError for what Orbax and TensorStore say, each in its way, of a full disk."""
        try:
            yield
        except Exception as error:
            code = re.search(r"os_error_code='(\d+)'", str(error))
            number = error.errno if isinstance(error, OSError) else code and int(code[1])
            if not number:
                raise
            raise WriteError(self.directory, OSError(number, os.strerror(number)), self._needed) from error


def _alone() -> Any:
    """Options for Orbax as in a process of its own: of several that train together, the leader has the whole state."""
    if jax.process_count() == 1:
        return _orbax().options.MultiprocessingOptions()
    alone = jax.process_index()
    return _orbax().options.MultiprocessingOptions(
        primary_host=alone, active_processes={alone}, barrier_sync_key_prefix=f"process{alone}"
    )
