"""Sets that `vqjax prepare` has decoded: images as their pixels in shards of ArrayRecord, read row by row.

prepared.json                           what the set is: shape, classes, sizes, and the shards with their hashes
<split>-<number>-of-<count>.array_record   images, a record of H x W x C bytes each
<split>-labels.npy                      labels (N,) int32
"""

import bisect
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqjax.config.schema import Data
from vqjax.data.files.damage import refuse_damage
from vqjax.data.sets.base import Dataset, require_path
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import read_json

DESCRIPTION = "prepared.json"
FORMAT = 1
_CHUNK = 256  # images that are read at a time


class Shard(NamedTuple):
    """A file of images.

    Attributes:
      file: its name.
      num_images: number of its images.
      hash: SHA-256 over their pixels, hexadecimal.
    """

    file: str
    num_images: int
    hash: str


def open_reader(path: Path) -> Any:
    """Open a shard for random access. Raises InputError if it is not there."""
    from array_record.python import array_record_module

    if not path.is_file():
        raise InputError(f"{path}: there is no such file; vqjax prepare, with the same --out, writes what is missing")
    return array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")


class PreparedDataset(Dataset):
    """Set that `vqjax prepare` has decoded. Its shards are only opened when images are read."""

    uses = ("path",)

    def __init__(self, data: Data):
        super().__init__(data)
        self._path = require_path(data, True, "a directory that vqjax prepare has written")
        where = f"config.data.path={data.path!r}"
        with refuse_damage(f"{where}: expected {DESCRIPTION} of vqjax prepare"):
            found: dict[str, Any] = read_json(self._path / DESCRIPTION)
            if found["format"] != FORMAT:
                raise InputError(f"{where}: format {found['format']} of a later version, expected {FORMAT}")
            self.shape, self.class_names = tuple(found["shape"]), tuple(found["class_names"])
            self._shards = {name: [Shard(*shard) for shard in shards] for name, shards in found["shards"].items()}
            self.sizes, self._validation = found["sizes"], int(found["validation"])
            whole = {name: sum(shard.num_images for shard in shards) for name, shards in self._shards.items()}
        if whole != self.sizes:
            raise InputError(f"{where} is not finished: run vqjax prepare again, with the same --out")

    def num_validation(self, share: float) -> int:
        return self._validation or super().num_validation(share)

    def source(self, name: str) -> "PreparedSource":
        return PreparedSource(self._path, self._shards[name], self.shape, self.data.workers)

    def labels(self, name: str) -> np.ndarray:
        path = self._path / f"{name}-labels.npy"
        with refuse_damage(f"{path} is damaged"):
            label: np.ndarray = np.load(path, allow_pickle=False)
        if label.shape != (self.sizes[name],) or label.dtype != np.int32:
            raise InputError(f"{path}: expected {self.sizes[name]:,} labels, int32")
        return label

    def listing(self, name: str) -> str:
        return " ".join(shard.hash for shard in self._shards[name])

    def decode(self, name: str) -> Split:
        images = np.empty((self.sizes[name], *self.shape), np.uint8)
        source = self.source(name)
        for start in range(0, len(images), _CHUNK):
            for row in range(start, min(start + _CHUNK, len(images))):
                images[row] = source.decode(row)
        return Split(image=images, label=self.labels(name))


class PreparedSource:
    """Source of the images of shards, each of which is opened by the process that reads from it."""

    def __init__(self, path: Path, shards: list[Shard], shape: tuple[int, ...], workers: int):
        """Find images (H, W, C) of a `shape` in the `shards` of the directory `path`; see `streaming.Source`."""
        self.shape, self.workers = shape, workers
        self._path, self._shards = path, shards
        self._ends = [*itertools.accumulate(shard.num_images for shard in shards)]
        self._readers: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}  # files are opened where they are read

    def decode(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the pixels of an image as they are."""
        number = bisect.bisect_right(self._ends, row)
        if number not in self._readers:
            self._readers[number] = open_reader(self._path / self._shards[number].file)
        first = self._ends[number] - self._shards[number].num_images
        with refuse_damage(f"{self._path / self._shards[number].file} is damaged"):
            (record,) = self._readers[number].read([row - first])
            return np.frombuffer(record, np.uint8).reshape(self.shape)
