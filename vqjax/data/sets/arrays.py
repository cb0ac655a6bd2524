"""Sets that are arrays: one's own in a file of NumPy, and scikit-learn's digits."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vqjax.config.schema import Data, parse_size
from vqjax.data import images
from vqjax.data.files.names import number_of, some
from vqjax.data.sets.array_files import ArrayFile, check_images, check_labels, read_array_file, to_uint8
from vqjax.data.sets.base import NO_LABEL, Dataset, file_stamp, require_path
from vqjax.data.sets.division import Division
from vqjax.data.splits import Split
from vqjax.system.errors import InputError

Arrays = tuple[np.ndarray, np.ndarray]  # images (N, H, W, C) uint8, labels (N,)


class ArrayDataset(Dataset):
    """A set whose splits are read at once; what is known of it is what they are."""

    def __init__(
        self,
        data: Data,
        read: Callable[[str], Arrays],
        class_names: tuple[str, ...],
        identity: str,
    ):
        """Read a set.

        Args:
          data: `config.data`.
          read: "train" or "test" -> its images (N, H, W, C) uint8 and labels (N,).
          class_names: in the order of the labels; () without labels.
          identity: see `Dataset`.
        """
        super().__init__(data)
        self._arrays, self.class_names, self.identity = read, class_names, identity
        self._held.update({name: self._decoded(name) for name in ("train", "test")})
        self.sizes = {name: len(split) for name, (split, _) in self._held.items()}
        self.shape = self._held["train"][0].arrays["image"].shape[1:]
        for name, (split, _) in self._held.items():
            self._check(name, split)
        del self._arrays  # what it reads from may be as large as the set

    def decode(self, name: str) -> Split:
        image, label = self._arrays(name)
        return Split(image=image, label=label.astype(np.int32))


def digits(data: Data) -> ArrayDataset:
    """Open scikit-learn's 1,797 scans of digits, levels 0 to 16; the first 1,437 train, the rest test."""
    table = _digits()
    image, label = np.round(255 * table[:, :-1] / 16).astype(np.uint8).reshape(-1, 8, 8, 1), table[:, -1]
    rows = {"train": slice(0, 1437), "test": slice(1437, None)}
    return ArrayDataset(data, lambda name: (image[rows[name]], label[rows[name]]), tuple("0123456789"), "")


def _digits() -> np.ndarray:
    """Return the 64 levels of each and its label, (N, 65); from their file: importing scikit-learn takes a second."""
    package = importlib.util.find_spec("sklearn")
    if package and package.origin:
        path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # of a version that has it elsewhere

    scans = load_digits()
    return np.column_stack((scans.data, scans.target))


class NumpyDataset(ArrayDataset):
    """Arrays in the .npz or .npy file `config.data.path`, divided as of `Division` by their row numbers."""

    uses = ("path", "size", "test")

    def __init__(self, data: Data):
        """Raises InputError if the file has no images, or labels that do not fit them."""
        path = require_path(data, False, "an .npz or .npy file of images")
        where = f"config.data.path={data.path!r}"
        arrays = read_array_file(path, where)
        parts = {split: check_images(images, where) for split, images in arrays.images.items()}
        self._rows = _Rows({split: len(part) for split, part in parts.items()}, arrays.names)
        label, class_names = _labels(arrays, parts, where)
        self._division = Division(self._rows.by_split, str, data.test)
        chosen = {"train": np.array(self._division.train, int), "test": np.array(self._division.test, int)}
        for name, rows in chosen.items():
            if not len(rows):
                raise InputError(f"config.data.test={data.test}: {len(label):,} images, of which none is for {name}")
        self._chosen, size = chosen, parse_size(data.size, "config.data.size")

        def read(name: str) -> Arrays:
            return resized(self._rows.take(parts, chosen[name], where), size), label[chosen[name]]

        super().__init__(data, read, class_names, f"arrays {file_stamp(path)} {data.size} {data.test}")
        self._notes += [*self._division.notes, *_array_notes(arrays, parts, label)]
        if not any(self._is_bright(name) for name in self.sizes):
            self._notes.append(
                "no pixel is above level 1 of 255: are they black and white as 0 and 1? Save them as bool"
            )

    def _is_bright(self, name: str) -> bool:
        image = self._held[name][0].arrays["image"]
        return bool(image[:64].max() > 1 or image.max() > 1)  # mostly the first ones tell

    def num_validation(self, share: float) -> int:
        return self._division.num_validation(share)

    def files(self, name: str) -> list[str]:
        return self._rows.names(self._chosen[name])


class _Rows:
    """Rows of one array of images or of several, numbered through."""

    def __init__(self, counts: Mapping[str, int], names: Mapping[str, str]):
        """Rows of arrays {split or "": number of images}, with their `names` in the file."""
        self._names = [f"{names[split]}/" if split else "" for split in counts]
        self._starts = np.cumsum([0, *counts.values()])
        ranges = zip(counts, self._starts, self._starts[1:])
        self.by_split = {split or "train": range(int(start), int(end)) for split, start, end in ranges}

    def take(self, parts: Mapping[str, np.ndarray], rows: np.ndarray, where: str) -> np.ndarray:
        """Return images of some rows, uint8, of the arrays {split or "": images (N, H, W, C)}."""
        arrays = list(parts.values())
        if len(arrays) == 1:
            return to_uint8(arrays[0][rows], where, rows)
        if len({array.shape[1:] for array in arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise InputError(f"{where}: expected images of one shape, found {shapes}")
        pixels = np.empty((len(rows), *arrays[0].shape[1:]), np.uint8)
        for array, start, end in zip(arrays, self._starts, self._starts[1:]):
            inside = (rows >= start) & (rows < end)
            pixels[inside] = to_uint8(array[rows[inside] - start], where, rows[inside] - start)
        return pixels

    def names(self, rows: np.ndarray) -> list[str]:
        """Return the number of each row in its array, behind the array's name if there are several."""
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        return [f"{self._names[number]}{row - self._starts[number]}" for number, row in zip(numbers, rows)]


def _labels(arrays: ArrayFile, parts: Mapping[str, np.ndarray], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels of all rows, numbered through, and the names of the classes."""
    if not arrays.labels.keys() & {"", "train"}:
        return np.zeros(sum(map(len, parts.values())), np.int32), ()
    given = {
        split: check_labels(label, len(parts[split]), where) for split, label in arrays.labels.items() if split in parts
    }
    kinds = {label.dtype.kind in "SU" for label in given.values()}
    if len(kinds) > 1:
        raise InputError(f"{where}: expected labels that are all integers or all names")
    if kinds == {True}:
        names, numbers = np.unique(np.concatenate([*given.values()]), return_inverse=True)
        ends = np.cumsum([len(label) for label in given.values()])[:-1]
        given = dict(zip(given, np.split(numbers.reshape(-1), ends)))
    else:
        names = np.arange(1 + max(int(label.max()) for label in given.values()))
    label = np.concatenate([given.get(split, np.full(len(part), NO_LABEL)) for split, part in parts.items()])
    return label.astype(np.int32), tuple(map(str, names))


def _array_notes(arrays: ArrayFile, parts: Mapping[str, np.ndarray], label: np.ndarray) -> Iterator[str]:
    """Yield lines on what was guessed or left out."""
    if arrays.unused:
        yield f"{number_of(len(arrays.unused), 'array')} of the file not read: {some(arrays.unused)}"
    guessed = [name for split, name in arrays.names.items() if not split and name not in ("", "image", "images")]
    if guessed:
        yield f"{some(guessed)} taken for the images"
    if any(part.dtype.kind == "f" for part in parts.values()):
        yield "pixels are floats: rounded to the 256 levels of uint8"
    if any(part.dtype.kind == "b" for part in parts.values()):
        yield "pixels are booleans: black and white"
    if arrays.labels and not arrays.labels.keys() & {"", "train"}:
        yield f"labels of {', '.join(arrays.labels)}, but none for training: not used"
    numbers = np.unique(label[label >= 0])
    if arrays.labels and len(numbers) and len(numbers) <= numbers[-1]:
        low, high = numbers[0], numbers[-1]
        yield f"labels from {low} to {high}, {len(numbers):,} of them used: {high + 1:,} classes, counted from 0"


def resized(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return images (N, H, W, C) uint8 fitted to (H, W)."""
    if size is None or pixels.shape[1:3] == size:
        return np.ascontiguousarray(pixels)
    gray = pixels.shape[-1] == 1
    fitted = (images.fit(Image.fromarray(image[..., 0] if gray else image), size) for image in pixels)
    return np.stack([images.to_array(image) for image in fitted])
