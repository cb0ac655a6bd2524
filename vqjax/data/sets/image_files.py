"""A set that lies as image files in a directory, in any layout: which file is where, and of which class, is given."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vqjax.config.schema import Data, parse_size
from vqjax.data import array_cache, images
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.data.streaming import parallel_map
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write

_MOST = 0.1  # share of the files that may be bad
_SHOWN = 3  # of the bad files, in messages
_FORMAT = 1  # of what is kept of a look at the files

Files = Sequence[tuple[str, int]]  # paths relative to the directory, each with its label


class ImageFiles(Dataset):
    """Image files with labels.

    Of "train" the files come in the order of a hash of their paths, so that those for validation are its end whatever
    share is asked for, and a new file moves no other to another split. The splits of a layout are used as they are.
    """

    uses = ("path", "size", "channels", "test", "resized_crop", "oversize")

    def __init__(
        self,
        data: Data,
        root: Path,
        splits: Mapping[str, Files],
        class_names: Sequence[str],
        places: Sequence[Path],
        left_out: Mapping[str, str] = {},
    ):
        """Looks at every file once; what is found is kept, so that the next time only new ones are looked at.

        Args:
          data: `config.data`.
          root: the directory.
          splits: those that the layout has, of "train", "validation" and "test"; without a test, validation is that,
            and without either a share of train.
          class_names: in the order of the labels.
          places: the directories that the files lie in.
          left_out: files that are none of the set's, with the reason.

        Raises:
          InputError: there are no images, too many bad ones, or they have several sizes and none is given.
        """
        super().__init__(data)
        self.root, self.class_names, self.places = root, tuple(class_names), tuple(places)
        every = [path for files in splits.values() for path, _ in files]
        found = probe_files(root, every)
        self.bad = {**left_out, **{path: entry["reason"] for path, entry in found.items() if entry["reason"]}}
        self._check_bad(len(every) + len(left_out))
        good = {name: [file for file in files if file[0] not in self.bad] for name, files in splits.items()}
        self._assign(good)
        self.sizes = {name: len(files) for name, files in self._files.items()}
        for name, count in self.sizes.items():
            if not count:
                shares = {*splits} == {"train"}
                option = f"config.data.test={data.test}" if shares else f"config.data.path={data.path!r}"
                raise InputError(f"{option}: {sum(self.sizes.values()):,} images, of which none is for {name}")
        self.size = parse_size(data.size, "config.data.size")
        self.shape = self._shape([found[path] for path in every if path not in self.bad])
        listed = ((path, label, found[path]["stamp"]) for name in self.sizes for path, label in self._files[name])
        stamp = hashlib.sha256(json.dumps([*listed]).encode()).hexdigest()
        self.identity = f"files {_FORMAT} {printable(str(root.resolve()))} {stamp} {self.shape} {bool(self.size)}"

    def _check_bad(self, count: int) -> None:
        """Notes the bad ones among so many files. Raises InputError if they are too many, or all."""
        lines = [f"{printable(path)}: {reason}" for path, reason in self.bad.items()]
        where = f"config.data.path={self.data.path!r}"
        if count == 0:
            raise InputError(f"{where}: expected images, found none")
        if len(lines) > _MOST * count:
            listed = "\n".join(lines[:_SHOWN])
            raise InputError(f"{where}: {len(lines):,} of {count:,} files are no images of the set\n{listed}")
        if lines:
            self.notes = (f"{len(lines):,} of {count:,} files are left out", *lines)

    def _assign(self, splits: Mapping[str, Files]) -> None:
        """Sets the files of "train" and "test", and how many of train are for validation (None: a share)."""
        train, validation, test = (list(splits.get(name, ())) for name in ("train", "validation", "test"))
        if "test" not in splits:
            if "validation" in splits:
                test = validation
                self.notes = (*self.notes, "there is no test: validation serves as that")
            else:
                test = [file for file in train if hash_to_unit(file[0], "test") < self.data.test]
                train = [file for file in train if hash_to_unit(file[0], "test") >= self.data.test]
        self._validation = len(validation) if "validation" in splits else None
        train.sort(key=lambda file: (-hash_to_unit(file[0], "validation"), file[0]))
        self._files = {"train": train + sorted(validation), "test": sorted(test)}

    def _shape(self, found: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
        """(H, W, C). Raises InputError if there are several sizes and none is given."""
        if self.data.channels not in (0, 1, 3):
            raise InputError(f"config.data.channels={self.data.channels}: expected 1 or 3, or 0 to find out")
        channels = self.data.channels or (1 if all(entry["grey"] for entry in found) else 3)
        if self.size:
            return *self.size, channels
        sizes = sorted({(entry["height"], entry["width"]) for entry in found})
        if len(sizes) > 1:
            (low, left), (high, right) = sizes[0], sizes[-1]
            raise InputError(
                f"config.data.path={self.data.path!r}: images of {len(sizes):,} sizes, from {low} x {left} to "
                f"{high} x {right} pixels\nExpected one: --config.data.size=64, for example, brings all to it"
            )
        return *sizes[0], channels

    def num_validation(self, share: float) -> int:
        if self._validation is not None:
            return self._validation
        return sum(hash_to_unit(path, "validation") < share for path, _ in self._files["train"])

    def decode(self, name: str) -> Split:
        source = self._source(name, self.oversize(self.size) if self.size else None)
        found = np.empty((self.sizes[name], *self.oversize(self.shape[:2]), self.shape[2]), np.uint8)
        rows = range(len(found))
        for row, image in zip(rows, _shown(parallel_map(source.decode, rows), len(rows), f"images of {name}")):
            found[row] = image
        return Split(image=found, label=self.labels(name))

    def labels(self, name: str) -> np.ndarray:
        return np.array([label for _, label in self._files[name]], np.int32)

    def files(self, name: str) -> list[str]:
        return [path for path, _ in self._files[name]]

    def source(self, name: str) -> "FileSource":
        return self._source(name, self.size)

    def _source(self, name: str, size: tuple[int, int] | None) -> "FileSource":
        return FileSource(self.root, [path for path, _ in self._files[name]], size, self.shape, self.data)

    def listing(self, name: str) -> str:
        sizes = (os.stat(self.root / path).st_size for path, _ in self._files[name])
        return json.dumps([self.shape, *((path, label, size) for (path, label), size in zip(self._files[name], sizes))])


class FileSource:
    """Image files that are decoded one by one; see `streaming.Source`."""

    def __init__(
        self, root: Path, paths: Sequence[str], size: tuple[int, int] | None, shape: tuple[int, int, int], data: Data
    ):
        self.root, self.size, self.shape = root, size, shape
        self.workers, self._least = data.workers, data.resized_crop
        self._paths = np.array([os.fsencode(path) for path in paths])  # compact: a set may have millions

    def decode(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        path = self.root / os.fsdecode(self._paths[row])
        try:
            return images.decode_image(path, self.size, self.shape[-1], self._least, rng)
        except InputError as error:
            raise InputError(f"config.data.path: {printable(str(path))}: {error}") from error


def hash_to_unit(path: str, salt: str) -> float:
    """A hash of a path as a number in [0, 1)."""
    digest = hashlib.sha256(salt.encode() + b"\0" + os.fsencode(path)).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def printable(path: str) -> str:
    """A path whose bytes need be no text, for messages."""
    return path.encode(errors="backslashreplace").decode()


def probe_files(root: Path, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each file is: {path: {"stamp", "reason" ("" if it is good), "height", "width", "grey"}}.

    What was found before of a file that has not been changed is taken from what is kept in the cache.
    """
    of_root = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    kept = array_cache.cache_directory() / f"files-{of_root}.json"
    before, stamps = _kept(kept), {path: _stamp(root / path) for path in paths}
    new = [path for path in paths if before.get(path, {}).get("stamp") != stamps[path]]
    looked = _shown(parallel_map(lambda path: _probe(root / path), new), len(new), "looking at the files, once")
    fresh = {path: {"stamp": stamps[path], **entry} for path, entry in zip(new, looked)}
    found = {path: fresh.get(path) or before[path] for path in paths}
    if fresh:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(kept) as temporary:
                temporary.write_text(json.dumps({"format": _FORMAT, "files": found}))
        except OSError:  # then they are looked at again the next time
            pass
    return found


def _stamp(path: Path) -> list[int]:
    try:
        found = path.stat()
        return [found.st_size, found.st_mtime_ns]
    except OSError:
        return []


def _kept(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        return dict(found["files"]) if found["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _probe(path: Path) -> dict[str, Any]:
    try:
        return {"reason": "", **images.probe_image(path)._asdict()}
    except InputError as error:
        return {"reason": str(error)}


def _shown(items: Any, count: int, title: str) -> Any:
    """The items, with a progress bar if they take long."""
    return tqdm(items, total=count, desc=title, unit=" images", disable=None, delay=2)
