"""What every set of images is: the rest of vqjax knows one by this class alone."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vqjax.config.schema import Data
from vqjax.data import array_cache
from vqjax.data.splits import Split
from vqjax.data.streaming import LazyImages, RandomCropSource, Source
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path

# The fields that say which images: a set that does not read one refuses it.
OPTIONS = ("data_dir", "path", "size", "channels", "frames", "resized_crop", "oversize")


class Dataset:
    """The contract, with what a set does that has nothing to say on a point.

    A set is made of the fields of `config.data`, checks then what can be checked without decoding it, and sets `shape`,
    `class_names` and `sizes`. It writes `decode`; one that may be too large for memory writes `source` too.

    Attributes:
      data: the fields of `config.data`.
      uses: names of those that it reads, of `OPTIONS`; a user who sets others is told.
      shape: (H, W, C) of an image.
      class_names: in the order of the labels; () without labels.
      sizes: images in "train" and "test"; "train" ends with those that are for validation.
      identity: a key of what lies there, cheap: paths, sizes, times; "" if the decoded images are not worth keeping.
      places: files and directories whose times tell whether something has been changed since.
      bad: the files that are left out, with the reason.
      notes: what is to be said of it, a line each.
    """

    uses: tuple[str, ...] = ()
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    sizes: Mapping[str, int]
    identity: str = ""
    places: tuple[Path, ...] = ()
    bad: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()

    def __init__(self, data: Data):
        """Raises InputError if the set is not there, is not what it is taken for, or has no use for a field."""
        for field in OPTIONS:
            value = getattr(data, field)
            if field not in self.uses and value != Data.__dataclass_fields__[field].default and value:
                raise InputError(
                    f"config.data.{field}={value!r}: expected none, config.data.name={data.name!r} does not use it"
                )
        self.data = data
        self._held: dict[str, tuple[Split, str]] = {}
        self._times: tuple[int, ...] = ()

    def decode(self, name: str) -> Split:
        """The `image` and `label` of "train" or "test", whole, `oversize`. Raises InputError if they are damaged."""
        raise NotImplementedError

    def source(self, name: str) -> Source | None:
        """Where the images of a split lie, for a set that need not be held in memory."""
        return None

    def labels(self, name: str) -> np.ndarray:
        """The labels (N,) int32 of a split of which `source` has the images; 0 where there are none."""
        return np.zeros(self.sizes[name], np.int32)

    def files(self, name: str) -> list[str] | None:
        """Return where each image of `read(name)` comes from, in that order; None where that has no name.

        That is its path relative to `config.data.path`, or its row number in a file of arrays.
        """
        return None

    def listing(self, name: str) -> str:
        """What tells the images of such a split from others, without decoding them."""
        return f"{self.identity} {name}"

    def num_validation(self, share: float) -> int:
        """How many images at the end of "train" are for validation, where a share of them is to be."""
        return round(self.sizes["train"] * share)

    @property
    def changed(self) -> bool:
        """Whether something has been changed in its places since this was asked first."""
        times = tuple(place.stat().st_mtime_ns if place.exists() else 0 for place in self.places)
        self._times = self._times or times
        return self._times != times

    def oversize(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) that images of a size are held in; see `config.data.oversize`."""
        height, width = (round(side * self.data.oversize) for side in size)
        return height, width

    @property
    def streamed(self) -> bool:
        """Whether it is larger than `config.data.memory`, and decoded while it is used."""
        size = sum(self.sizes.values()) * math.prod(self.shape) * self.data.oversize**2
        return size > self.data.memory * 2**30 and self.source("train") is not None

    def read(self, name: str) -> Split:
        """The `image` and `label` of "train" or "test": in memory, kept between commands, or decoded as they are used.

        Raises InputError if they are damaged, or are not what was said of them.
        """
        return self._read(name)[0]

    def hash(self, name: str) -> str:
        """Of the images and labels of a split; of a streamed one, of its files' names and sizes."""
        return self._read(name)[1]

    def _read(self, name: str) -> tuple[Split, str]:
        if name not in self._held:
            self._held[name] = self._stream(name) if self.streamed else self._decoded(name)
            self._check(name, self._held[name][0])
        return self._held[name]

    def _stream(self, name: str) -> tuple[Split, str]:
        source = self.source(name)
        assert source is not None
        split = Split(image=LazyImages(source, np.arange(self.sizes[name])), label=self.labels(name))
        return split, "files " + hashlib.sha256(self.listing(name).encode(errors="surrogateescape")).hexdigest()

    def _decoded(self, name: str) -> tuple[Split, str]:
        key = f"{self.identity} {self.data.oversize} {name}" if self.identity and self.data.cache else ""
        arrays, digest = array_cache.cached_arrays(key, lambda: self.decode(name).arrays)
        if self.data.oversize > 1:
            windows = RandomCropSource(arrays["image"], self.shape)
            arrays["image"] = LazyImages(windows, np.arange(len(arrays["label"])))  # type: ignore[assignment]
        return Split(**arrays), f"pixels {digest}"

    def _check(self, name: str, split: Split) -> None:
        """Raises InputError unless a split is what was said of the set."""
        image, label = split.arrays["image"], split.arrays["label"]
        where = f"config.data.name={self.data.name!r}: {name}"
        if not len(split):
            raise InputError(f"{where} is empty, expected images")
        if tuple(image.shape[1:]) != tuple(self.shape) or image.dtype != np.uint8:
            found, expected = (" x ".join(map(str, shape)) for shape in (image.shape[1:], self.shape))
            raise InputError(f"{where} has images of {found}, {image.dtype}, expected {expected}, uint8")
        low, high, count = int(label.min()), int(label.max()), max(1, len(self.class_names))
        if low < 0 or high >= count:
            raise InputError(f"{where} has labels from {low} to {high}, expected 0 to {count - 1}")


def file_stamp(path: Path) -> str:
    """What tells a file from what it was before: where it is, its size, and when it was changed last."""
    found = path.stat()
    return f"{path.resolve()} {found.st_size} {found.st_mtime_ns}"


def require_path(data: Data, directory: bool | None, expected: str) -> Path:
    """`config.data.path`, which must be there.

    Args:
      data: `config.data`.
      directory: whether it must be a directory (True) or a file (False).
      expected: what is to be found there, for messages.

    Raises:
      InputError: it is empty, nothing is there, or something of another kind.
    """
    where = f"config.data.path={data.path!r}"
    if not data.path:
        raise InputError(f"{where}: config.data.name={data.name!r} expects {expected} there")
    path = absolute_path(data.path, "config.data.path")
    if not path.exists():
        raise InputError(f"{where}: there is no such file or directory, expected {expected}")
    if directory is not None and path.is_dir() != directory:
        raise InputError(f"{where}: a {'directory' if path.is_dir() else 'file'}, expected {expected}")
    return path
