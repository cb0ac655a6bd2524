"""Checkpoints: what a run saves, reads back, keeps and restores.

manager.py     the checkpoints of a run: save, read back, restore
record.py      the record of each checkpoint, under a checksum
retention.py   which checkpoints stay
saved.py       saved.json: the newest step that was read back
storage.py     arrays on disk, by Orbax
checksums.py   checksums of arrays and of JSON
pins.py        checkpoints that second stages stand on
"""

from vqjax.runs.checkpoints.manager import Checkpoints, ShapeMismatch
from vqjax.runs.checkpoints.record import Damaged

__all__ = ["Checkpoints", "Damaged", "ShapeMismatch"]
