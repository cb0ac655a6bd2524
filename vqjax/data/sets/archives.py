"""Sets in the archives in which their authors distribute them, in `config.data.path`."""

import functools
import gzip
import math
import struct
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.config.schema import Data
from vqjax.data.files.damage import refuse_damage
from vqjax.data.sets.arrays import ArrayDataset, Arrays
from vqjax.data.sets.base import Dataset, file_stamp, require_path
from vqjax.system.errors import InputError

_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_KINDS = "images-idx3", "labels-idx1"  # of IDX files
_SIDE = 32  # pixels of CIFAR's images
_MAX_BYTES = 2**30  # of a file, unpacked: far more than any of these has


class Archive(ArrayDataset):
    """Set that is read as it is distributed."""

    uses = ("path",)


def mnist(data: Data) -> Archive:
    """Open MNIST: images and labels as IDX files, compressed or not."""
    return _idx(data, _DIGITS)


def fashion_mnist(data: Data) -> Archive:
    """Open FashionMNIST, in files like those of MNIST."""
    return _idx(data, _FASHION)


def _idx(data: Data, class_names: tuple[str, ...]) -> Archive:
    root = require_path(data, True, "the directory of the IDX files, such as train-images-idx3-ubyte.gz")
    prefixes = {"train": "train", "test": "t10k"}
    pairs = {
        name: tuple(_find(data, root, [f"{prefix}-{kind}-ubyte{suffix}" for suffix in (".gz", "")]) for kind in _KINDS)
        for name, prefix in prefixes.items()
    }
    files = [file for pair in pairs.values() for file in pair]
    read = lambda name: _pair(data, *pairs[name])  # noqa: E731
    return _archive(data, read, class_names, "idx", files)


def _pair(data: Data, images: Path, labels: Path) -> Arrays:
    image, label = (_read(data, file, functools.partial(_idx_array, file)) for file in (images, labels))
    if len(image) != len(label):
        raise InputError(
            f"config.data.path={data.path!r}: {len(image):,} images in {images.name}, but {len(label):,} labels in "
            f"{labels.name}"
        )
    return image[..., None], label


def _idx_array(file: Path) -> np.ndarray:
    """Read an array of bytes: two zeros, the type 8, number of axes, each axis as a big-endian integer, values."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        zeros, kind, axes = struct.unpack(">HBB", stream.read(4))
        if zeros or kind != 8 or axes not in (1, 3):
            raise ValueError(f"{file.name} is no IDX file of bytes")
        shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
        if (size := math.prod(shape)) > _MAX_BYTES:
            raise ValueError(f"{file.name} says that it has {size:,} bytes")
        content = stream.read(size + 1)
    return np.frombuffer(content, np.uint8).reshape(shape)


def cifar10(data: Data) -> Archive:
    """Open the binary version of CIFAR-10: cifar-10-binary.tar.gz, or the files in it."""
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return _cifar(data, "cifar-10-binary.tar.gz", {"train": train, "test": ["test_batch.bin"]}, 1, "batches.meta.txt")


def cifar100(data: Data) -> Archive:
    """Open the binary version of CIFAR-100, fine labels: cifar-100-binary.tar.gz, or the files in it."""
    files = {"train": ["train.bin"], "test": ["test.bin"]}
    return _cifar(data, "cifar-100-binary.tar.gz", files, 2, "fine_label_names.txt")


def _cifar(data: Data, archive: str, files: dict[str, list[str]], labels: int, names: str) -> Archive:
    """Open files of records: so many labels, of which the last counts, and 3 planes of 32 x 32 pixels."""
    path = require_path(data, None, f"{archive}, or the directory of its files")
    if path.is_dir() and not (path / names).is_file() and (path / archive).is_file():
        path = path / archive
    where = f"config.data.path={data.path!r}"
    wanted = [names, *(file for part in files.values() for file in part)]
    if path.is_dir():
        places = {file: _find(data, path, [file]) for file in wanted}
        content: Callable[[list[str]], dict[str, bytes]] = lambda wanted: {  # noqa: E731
            file: places[file].read_bytes() for file in wanted
        }
    else:
        places, content = {archive: path}, lambda wanted: _members(path, wanted)

    def arrays(name: str) -> Arrays:
        records = np.frombuffer(b"".join(content(files[name]).values()), np.uint8).reshape(-1, labels + 3 * _SIDE**2)
        return records[:, labels:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1), records[:, labels - 1]

    text = _read(data, path, lambda: content([names])[names].decode())
    class_names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not class_names:
        raise InputError(f"{where}: {names} is empty")
    return _archive(data, lambda name: _read(data, path, lambda: arrays(name)), class_names, "cifar", places.values())


def _members(path: Path, wanted: list[str]) -> dict[str, bytes]:
    """Return the content of files of a tar archive by their names, in the order of `wanted`."""
    contents = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if (name := Path(member.name).name) in wanted and (file := archive.extractfile(member)):
                contents[name] = file.read(_MAX_BYTES)  # a hostile member can be larger than any disk
                if len(contents) == len(wanted):
                    break
    if missing := [name for name in wanted if name not in contents]:
        raise ValueError(f"there is no {missing[0]} in it")
    return {name: contents[name] for name in wanted}


def svhn_cropped(data: Data) -> Archive:
    """Open format 2 of SVHN: train_32x32.mat and test_32x32.mat, in which the digit 0 has the label 10."""
    root = require_path(data, True, "the directory of train_32x32.mat and test_32x32.mat")
    files = {name: _find(data, root, [f"{name}_32x32.mat"]) for name in ("train", "test")}

    def arrays(name: str) -> Arrays:
        from scipy.io import loadmat

        content = loadmat(files[name], variable_names=("X", "y"))
        image, label = content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1)
        return image, np.where(label == 10, 0, label)

    return _archive(data, lambda name: _read(data, files[name], lambda: arrays(name)), _DIGITS, "svhn", files.values())


def _archive(
    data: Data, read: Callable[[str], Arrays], class_names: tuple[str, ...], kind: str, files: Iterable[Path]
) -> Archive:
    return Archive(data, read, class_names, f"{kind} {' '.join(map(file_stamp, files))}")


def _find(data: Data, root: Path, names: list[str]) -> Path:
    """Return the first of the files that is there. Raises InputError, naming the first."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise InputError(f"config.data.path={data.path!r}: expected {names[0]} in it, for config.data.name={data.name!r}")


def _read(data: Data, file: Path, read: Callable[[], Any]) -> Any:
    """Return what `read` gives. Raises InputError if the file is damaged."""
    with refuse_damage(f"config.data.path={data.path!r}: {file.name} cannot be read"):
        return read()


ARCHIVES: dict[str, Callable[[Data], Dataset]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "svhn_cropped": svhn_cropped,
    "cifar10": cifar10,
    "cifar100": cifar100,
}
