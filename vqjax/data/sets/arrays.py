"""Sets that are arrays: one's own in a file of NumPy, and scikit-learn's digits."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqjax.config.schema import Data, parse_size
from vqjax.data import images
from vqjax.data.sets.base import Dataset, file_stamp, require_path
from vqjax.data.sets.image_files import hash_to_unit
from vqjax.data.splits import Split
from vqjax.system.errors import InputError

_IMAGES, _LABELS = ("image", "images"), ("label", "labels")  # what the arrays of an .npz may be called
_CLASSES = 2**16  # labels from there on are taken for something else

Arrays = tuple[np.ndarray, np.ndarray]  # images (N, H, W, C) uint8, labels (N,)


class ArrayDataset(Dataset):
    """A set whose splits are read at once; what is known of it is what they are."""

    def __init__(self, data: Data, read: Callable[[str], Arrays], class_names: tuple[str, ...], identity: str):
        """`read` gives the images and labels of "train" and of "test"."""
        super().__init__(data)
        self._arrays, self.class_names, self.identity = read, class_names, identity
        self._held.update({name: self._decoded(name) for name in ("train", "test")})
        self.sizes = {name: len(split) for name, (split, _) in self._held.items()}
        self.shape = self._held["train"][0].arrays["image"].shape[1:]
        for name, (split, _) in self._held.items():
            self._check(name, split)

    def decode(self, name: str) -> Split:
        image, label = self._arrays(name)
        return Split(image=image, label=label.astype(np.int32))


def digits(data: Data) -> ArrayDataset:
    """scikit-learn's 1,797 scans of digits, levels 0 to 16; the first 1,437 train, the rest test."""
    found = _digits()
    image, label = np.round(255 * found[:, :-1] / 16).astype(np.uint8).reshape(-1, 8, 8, 1), found[:, -1]
    rows = {"train": slice(0, 1437), "test": slice(1437, None)}
    return ArrayDataset(data, lambda name: (image[rows[name]], label[rows[name]]), tuple("0123456789"), "")


def _digits() -> np.ndarray:
    """The 64 levels of each and its label, (N, 65); from their file, since to import scikit-learn takes a second."""
    package = importlib.util.find_spec("sklearn")
    if package and package.origin:
        path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # of a version that has it elsewhere

    found = load_digits()
    return np.column_stack((found.data, found.target))


class NumpyDataset(ArrayDataset):
    """`config.data.path`, an .npz or .npy file: images (N, H, W, C) or, grey, (N, H, W), uint8, and labels.

    Which images are for test, and for validation, is said by a hash of their numbers in the file.
    """

    uses = ("path", "size", "test")

    def __init__(self, data: Data):
        path = require_path(data, False, "an .npz or .npy file of images")
        where = f"config.data.path={data.path!r}"
        image, label = _load(path, where)
        count = len(image)
        if label is not None:
            _check_labels(label, count, where)
        names = tuple(map(str, range(int(label.max()) + 1))) if label is not None else ()
        share = np.array([hash_to_unit(str(i), "test") for i in range(count)])
        order = np.argsort([-hash_to_unit(str(i), "validation") for i in range(count)], kind="stable")
        rows = {"train": order[share[order] >= data.test], "test": np.flatnonzero(share < data.test)}
        for name, chosen in rows.items():
            if not len(chosen):
                raise InputError(f"config.data.test={data.test}: {count:,} images, of which none is for {name}")
        size = parse_size(data.size, "config.data.size")
        labels = np.zeros(count, np.int32) if label is None else label

        def read(name: str) -> Arrays:
            return resized(image[rows[name]], size), labels[rows[name]]

        self._train, self.places = rows["train"], (path,)
        super().__init__(data, read, names, f"arrays {file_stamp(path)} {data.size} {data.test}")

    def num_validation(self, share: float) -> int:
        return sum(hash_to_unit(str(row), "validation") < share for row in self._train)


def _load(path: Path, where: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The images (N, H, W, C) and labels (N,) of a file; None for no labels. Raises InputError."""
    try:
        found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            found = {name: found[name] for name in found.files if name in (*_IMAGES, *_LABELS)} | {"": found.files}
    except Exception as error:  # a damaged archive fails in any way
        reason = str(error).partition("\n")[0]
        raise InputError(f"{where} cannot be read: {reason}\nExpected an .npz or .npy file, without pickles") from error
    if isinstance(found, np.ndarray):
        found = {"image": found}
    image, label = (next((found[name] for name in names if name in found), None) for names in (_IMAGES, _LABELS))
    if image is None:
        raise InputError(f"{where}: expected an array `image` or `images`, found {', '.join(found['']) or 'nothing'}")
    image = image[..., None] if image.ndim == 3 else image
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[-1] not in (1, 3) or not image.size:
        raise InputError(
            f"{where}: expected images (N, H, W, C) or (N, H, W), uint8, C 1 or 3, found {image.dtype} {image.shape}"
        )
    return image, label


def _check_labels(label: np.ndarray, count: int, where: str) -> None:
    if label.dtype.kind not in "iu" or label.shape != (count,):
        raise InputError(f"{where}: expected {count} labels that are integers, found {label.dtype} {label.shape}")
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= _CLASSES:
        raise InputError(f"{where}: labels from {low} to {high}, expected at least 0 and less than {_CLASSES}")


def resized(found: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Images (N, H, W, C) uint8 brought to (H, W)."""
    if size is None or found.shape[1:3] == size:
        return np.ascontiguousarray(found)
    grey = found.shape[-1] == 1
    fitted = (images.fit(Image.fromarray(x[..., 0] if grey else x), size) for x in found)
    return np.stack([images.to_array(image) for image in fitted])
