"""Contract of every set of images: the rest of vqjax knows one by this class alone."""

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vqjax.config.schema import Data
from vqjax.data import array_cache
from vqjax.data.files.names import number_of, some
from vqjax.data.splits import Split
from vqjax.data.streaming import LazyImages, RandomCropSource, Source
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.system.text import printable

NO_LABEL = -1  # label of an image without one, in a set that has classes
# The fields that say which images: a set that does not read one refuses it.
OPTIONS = ("data_dir", "path", "size", "channels", "frames", "resized_crop", "oversize")


class Dataset:
    """Set of images, or of clips, with a split for training and one for test.

    A subclass checks in `__init__` what can be checked without decoding, sets `shape`, `class_names` and `sizes`, and
    adds to `_notes` what is left out, doubled, merged or guessed. It writes `decode`; a set that may be too large for
    memory writes `source` and `labels` too.

    Attributes:
      data: the fields of `config.data`.
      uses: names of those that it reads, of `OPTIONS`; a user who sets others is told.
      shape: (H, W, C) of an image, (T, H, W, C) of a clip.
      class_names: in the order of the labels; () without labels.
      sizes: number of images in "train" and "test"; "train" ends with those that are for validation.
      identity: key of what lies there, cheap: paths, sizes, times; "" if the decoded images are not worth keeping.
      bad: the files that are left out, with the reason.
    """

    uses: tuple[str, ...] = ()
    shape: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    sizes: Mapping[str, int]
    identity: str = ""
    bad: Mapping[str, str] = {}

    def __init__(self, data: Data):
        """Raises InputError if the set is not there, is not what it is taken for, or has no use for a field."""
        for field in OPTIONS:
            value = getattr(data, field)
            if field not in self.uses and value != Data.__dataclass_fields__[field].default and value:
                raise InputError(
                    f"config.data.{field}={value!r}: expected none, config.data.name={data.name!r} does not use it"
                )
        self.data = data
        self._notes: list[str] = []
        self._held: dict[str, tuple[Split, str]] = {}

    # Written by subclasses

    def decode(self, name: str) -> Split:
        """Return the `image` and `label` of "train" or "test", whole, `oversize`. InputError if they are damaged."""
        raise NotImplementedError

    def source(self, name: str) -> Source | None:
        """Return the source of a split's images; None for a set that is always held in memory."""
        return None

    def labels(self, name: str) -> np.ndarray:
        """Return the labels (N,) int32 of a split; NO_LABEL where an image has none, 0 in a set without classes."""
        if not self.class_names:
            return np.zeros(self.sizes[name], np.int32)
        label: np.ndarray = self.read(name).arrays["label"]
        return label

    def files(self, name: str) -> list[str] | None:
        """Return where each image of `read(name)` comes from, in that order; None where that has no name.

        That is its path relative to `config.data.path`, or its row number in a file of arrays.
        """
        return None

    def listing(self, name: str) -> str:
        """Return what tells the images of a streamed split from others, without decoding them."""
        return f"{self.identity} {name}"

    def num_validation(self, share: float) -> int:
        """Number of images at the end of "train" that are for validation, where a share of them is to be."""
        return round(self.sizes["train"] * share)

    # For everyone

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user on what is left out, doubled, merged or guessed. The labels may be read for them."""
        return (*self._notes, *self._label_notes)

    @property
    def unlabeled(self) -> tuple[str, ...]:
        """Splits, of "validation" and "test", in which images have no labels although the set has classes."""
        if not self.class_names:
            return ()
        return tuple(name for name, label in self._labels_by_split().items() if (label == NO_LABEL).any())

    def require_labels(self, reason: str = "config.task needs them; an autoencoder does not") -> None:
        """Raise InputError with a reason if a split has no labels, for a task that cannot do without."""
        if unlabeled := self.unlabeled:
            splits = " and ".join(unlabeled)
            raise InputError(f"config.data.name={self.data.name!r}: {splits} has no labels, and {reason}")

    def oversize(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Return the (H, W) that images of a size are held in; see `config.data.oversize`."""
        height, width = (round(side * self.data.oversize) for side in size)
        return height, width

    @property
    def streamed(self) -> bool:
        """Whether it is larger than `config.data.memory`, and decoded while it is used."""
        size = sum(self.sizes.values()) * math.prod(self.shape) * self.data.oversize**2
        return size > self.data.memory * 2**30 and self.source("train") is not None

    def read(self, name: str) -> Split:
        """Return the `image` and `label` of "train" or "test", whole.

        They are in memory, kept between commands, or decoded as they are used. Raises InputError if they are damaged,
        or are not what was said of them.
        """
        return self._read(name)[0]

    def hash(self, name: str) -> str:
        """Return a hash of a split's images and labels; of a streamed one, of its files' names and sizes."""
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
        """Raise InputError unless a split is what was said of the set."""
        image, label = split.arrays["image"], split.arrays["label"]
        where = f"config.data.name={self.data.name!r}: {name}"
        if not len(split):
            raise InputError(f"{where} is empty, expected images")
        if tuple(image.shape[1:]) != tuple(self.shape) or image.dtype != np.uint8:
            shape, expected = (" x ".join(map(str, shape)) for shape in (image.shape[1:], self.shape))
            raise InputError(f"{where} has images of {shape}, {image.dtype}, expected {expected}, uint8")
        trained = len(split) - self.num_validation(self.data.validation) if name == "train" else 0
        lowest, count = int(label.min()), max(1, len(self.class_names))
        may_lack = bool(self.class_names) and not (label[:trained] == NO_LABEL).any()
        if lowest < (NO_LABEL if may_lack else 0) or int(label.max()) >= count:
            raise InputError(f"{where} has labels from {lowest} to {int(label.max())}, expected 0 to {count - 1}")

    def _labels_by_split(self) -> dict[str, np.ndarray]:
        """Return the labels of "train", "validation" and "test"."""
        whole = self.labels("train")
        count = len(whole) - self.num_validation(self.data.validation)
        return {"train": whole[:count], "validation": whole[count:], "test": self.labels("test")}

    @functools.cached_property
    def _label_notes(self) -> tuple[str, ...]:
        return tuple(self._describe_labels()) if self.class_names else ()

    def _describe_labels(self) -> Iterator[str]:
        """Yield lines on splits without labels, and on classes that train lacks."""
        splits, number = self._labels_by_split(), len(self.class_names)
        present = {name: np.bincount(label[label >= 0], minlength=number) > 0 for name, label in splits.items()}
        for name, label in splits.items():
            if missing := int((label == NO_LABEL).sum()):
                images = number_of(len(label), "image")
                yield f"{missing:,} of {images} of {name} without a label: enough for an autoencoder, not for classes"
        elsewhere = (present["validation"] | present["test"]) & ~present["train"]
        for rows, where in (
            (~(elsewhere | present["train"]), "no image"),
            (elsewhere, "images in validation or test, but none in train"),
        ):
            if names := [self.class_names[row] for row in np.flatnonzero(rows)]:
                verb = "has" if len(names) == 1 else "have"
                yield f"{len(names):,} of {number_of(number, 'class', 'classes')} {verb} {where}: {some(names)}"


def file_stamp(path: Path) -> str:
    """Return what tells a file from what it was before: where it is, its size, and when it was changed last."""
    status = path.stat()
    return f"{printable(str(path.resolve()))} {status.st_size} {status.st_mtime_ns}"


def require_path(data: Data, directory: bool | None, expected: str) -> Path:
    """Return `config.data.path`, which must be there.

    Args:
      data: `config.data`.
      directory: whether it must be a directory (True) or a file (False); None: either.
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
