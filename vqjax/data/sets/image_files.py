"""A set that lies as image files in a directory, in any layout: which file is where, and of which class, is given."""

import hashlib
import json
import operator
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vqjax.config.schema import Data, parse_size
from vqjax.data import images
from vqjax.data.files.names import number_of, some
from vqjax.data.files.pictures import Probe
from vqjax.data.files.probes import ProbedFile, probe_files, with_progress
from vqjax.data.sets.base import Dataset
from vqjax.data.sets.division import Division
from vqjax.data.splits import Split
from vqjax.data.streaming import parallel_map
from vqjax.system.errors import InputError
from vqjax.system.text import printable

_MAX_BAD = 0.1  # share of the files that may be bad
_SHOWN = 3  # bad files in an error
_FORMAT = 2  # of decoded images that are kept

Files = Sequence[tuple[str, int]]  # paths relative to the directory, each with its label


class ImageFiles(Dataset):
    """Image files with labels, divided as of `Division`."""

    uses = ("path", "size", "channels", "test", "resized_crop", "oversize")

    def __init__(
        self,
        data: Data,
        root: Path,
        splits: Mapping[str, Files],
        class_names: Sequence[str],
        left_out: Mapping[str, str] = {},
        probed: Mapping[str, ProbedFile] | None = None,
        notes: Sequence[str] = (),
    ):
        """Read every file that is not known from the last time.

        Args:
          data: `config.data`.
          root: the directory.
          splits: those that the layout has, of "train", "validation" and "test"; NO_LABEL where a file has no class.
          class_names: in the order of the labels.
          left_out: files that are not of the set, with the reason.
          probed: descriptions of the files, if they are known.
          notes: lines about the layout.

        Raises:
          InputError: there are no images, too many bad ones, or they have several sizes and none is given.
        """
        super().__init__(data)
        self.root, self.class_names = root, tuple(class_names)
        self._notes += notes
        paths = [path for files in splits.values() for path, _ in files]
        outside = {path: "outside of config.data.path" for path in paths if _leads_out(path)}
        probed = probed or probe_files(root, [path for path in paths if path not in outside])
        reasons = {path: probed[path].probe.reason for path in paths if path not in outside}
        self.bad = {**left_out, **outside, **{path: reason for path, reason in reasons.items() if reason}}
        self._check_bad(len(paths) + len(left_out))
        good = {name: sorted(file for file in files if file[0] not in self.bad) for name, files in splits.items()}
        self._division = Division(good, operator.itemgetter(0), data.test)
        self._check_sizes({*splits})
        self._describe({path: probed[path] for path in paths if path not in self.bad})

    def _describe(self, used: Mapping[str, ProbedFile]) -> None:
        """Set what follows from the files that are used."""
        self.size = parse_size(self.data.size, "config.data.size")
        self.shape = self._find_shape([file.probe for file in used.values()])
        self._notes += [*self._division.notes, *_odd_files(used)]
        listed = [(path, label, used[path].stamp[:2]) for files in self._files.values() for path, label in files]
        stamp = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
        self.identity = f"files {_FORMAT} {printable(str(self.root.resolve()))} {stamp} {self.shape} {bool(self.size)}"

    def _check_bad(self, count: int) -> None:
        """Note the bad ones among so many files. Raises InputError if they are too many, or all."""
        lines = [f"{printable(path)}: {reason}" for path, reason in self.bad.items()]
        where = f"config.data.path={self.data.path!r}"
        if count == 0:
            raise InputError(f"{where}: expected images, found none")
        if len(lines) > _MAX_BAD * count:
            listed = "\n".join(lines[:_SHOWN])
            raise InputError(f"{where}: {len(lines):,} of {count:,} files are no images of the set\n{listed}")
        if lines:
            self._notes += [f"{len(lines):,} of {count:,} files {'is' if len(lines) == 1 else 'are'} left out", *lines]

    def _check_sizes(self, splits: Collection[str]) -> None:
        """Set the files of "train" and "test". Raises InputError if a split has none."""
        self._files = {"train": self._division.train, "test": self._division.test}
        self.sizes = {name: len(files) for name, files in self._files.items()}
        for name, count in self.sizes.items():
            if not count:
                option = (
                    f"config.data.path={self.data.path!r}" if len(splits) > 1 else f"config.data.test={self.data.test}"
                )
                raise InputError(f"{option}: {sum(self.sizes.values()):,} images, of which none is for {name}")

    def _find_shape(self, probes: Sequence[Probe]) -> tuple[int, int, int]:
        """Return (H, W, C). Raises InputError if there are several sizes and none is given."""
        if self.data.channels not in (0, 1, 3):
            raise InputError(f"config.data.channels={self.data.channels}: expected 1 or 3, or 0 to find out")
        channels = self.data.channels or (1 if all(probe.gray for probe in probes) else 3)
        if self.size:
            return *self.size, channels
        sizes = sorted({(probe.height, probe.width) for probe in probes})
        if len(sizes) > 1:
            (low, narrow), (high, wide) = sizes[0], sizes[-1]
            raise InputError(
                f"config.data.path={self.data.path!r}: images of {len(sizes):,} sizes, from {low} x {narrow} to "
                f"{high} x {wide} pixels\nExpected one: --config.data.size=64, for example, brings all to it"
            )
        return *sizes[0], channels

    def num_validation(self, share: float) -> int:
        return self._division.num_validation(share)

    def decode(self, name: str) -> Split:
        source = self._source(name, self.oversize(self.size) if self.size else None)
        decoded = np.empty((self.sizes[name], *self.oversize(self.shape[:2]), self.shape[2]), np.uint8)
        rows = range(len(decoded))
        for row, image in zip(rows, with_progress(parallel_map(source.decode, rows), len(rows), f"images of {name}")):
            decoded[row] = image
        return Split(image=decoded, label=self.labels(name))

    def labels(self, name: str) -> np.ndarray:
        return np.array([label for _, label in self._files[name]], np.int32)

    def files(self, name: str) -> list[str]:
        return [path for path, _ in self._files[name]]

    def source(self, name: str) -> "FileSource":
        return self._source(name, self.size)

    def _source(self, name: str, size: tuple[int, int] | None) -> "FileSource":
        return FileSource(self.root, self.files(name), size, self.shape, self.data)

    def listing(self, name: str) -> str:
        sizes = (os.stat(self.root / path).st_size for path, _ in self._files[name])
        return json.dumps([self.shape, *((path, label, size) for (path, label), size in zip(self._files[name], sizes))])


class FileSource:
    """Source of image files that are decoded one by one, see `streaming.Source`."""

    def __init__(
        self, root: Path, paths: Sequence[str], size: tuple[int, int] | None, shape: tuple[int, ...], data: Data
    ):
        """Files by their `paths` below `root`, fitted to `size` (H, W), or None as they are, of shape (H, W, C)."""
        self.root, self.size, self.shape = root, size, shape
        self.workers, self._min_area = data.workers, data.resized_crop
        self._paths = np.array([os.fsencode(path) for path in paths])  # compact: a set may have millions

    def decode(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        path = self.root / os.fsdecode(self._paths[row])
        try:
            return images.decode_image(path, self.size, self.shape[-1], self._min_area, rng)
        except InputError as error:
            raise InputError(f"config.data.path: {printable(str(path))}: {error}") from error


def _leads_out(path: str) -> bool:
    """Return whether a path, as a list of files may have it, is not below the directory that it is relative to."""
    return os.path.isabs(path) or ".." in path.split("/")


def _odd_files(files: Mapping[str, ProbedFile]) -> Iterator[str]:
    """Yield lines on images of several frames, and on files that are there more than once."""
    if animated := [path for path, file in files.items() if file.probe.animated]:
        yield f"{number_of(len(animated), 'file')} with several frames, of which the first is used: {some(animated)}"
    names: dict[tuple[int, int], list[str]] = {}
    for path, file in files.items():
        names.setdefault(file.inode, []).append(path)
    if doubled := [paths for paths in names.values() if len(paths) > 1]:
        count = sum(len(paths) - 1 for paths in doubled)
        yield f"{number_of(count, 'file')} there again under another name, by links: {some(doubled[0])}"
