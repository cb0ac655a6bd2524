"""Sets read from the archives in which their authors distribute them, in `config.data.path`."""

import gzip
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.config.schema import Data
from vqjax.data.sets.arrays import ArrayDataset, Arrays
from vqjax.data.sets.base import Dataset, file_stamp, require_path
from vqjax.system.errors import InputError

_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_KINDS = "images-idx3", "labels-idx1"  # of IDX files
_SIDE = 32  # pixels of CIFAR's images


class Archive(ArrayDataset):
    """A set that is read as it is distributed."""

    uses = ("path",)


def mnist(data: Data) -> Archive:
    """Images and labels as IDX files, compressed or not."""
    return _idx(data, _DIGITS)


def fashion_mnist(data: Data) -> Archive:
    """As MNIST."""
    return _idx(data, _FASHION)


def _idx(data: Data, class_names: tuple[str, ...]) -> Archive:
    root = require_path(data, True, "the directory of the IDX files, such as train-images-idx3-ubyte.gz")
    prefixes = {"train": "train", "test": "t10k"}
    pairs = {
        name: tuple(_found(data, root, [f"{prefix}-{kind}-ubyte{suffix}" for suffix in (".gz", "")]) for kind in _KINDS)
        for name, prefix in prefixes.items()
    }
    identity = " ".join(file_stamp(file) for pair in pairs.values() for file in pair)
    read = lambda name: _read(data, pairs[name][0], lambda: _pair(*pairs[name]))  # noqa: E731
    return Archive(data, read, class_names, f"idx {identity}")


def _pair(images: Path, labels: Path) -> Arrays:
    image, label = _idx_array(images)[..., None], _idx_array(labels)
    if len(image) != len(label):
        raise ValueError(f"{len(image)} images, but {len(label)} labels in {labels.name}")
    return image, label


def _idx_array(file: Path) -> np.ndarray:
    """An array of bytes: two zeros, the type 8, the number of axes, each axis as a big-endian integer, the values."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    zeros, kind, axes = struct.unpack(">HBB", content[:4])
    if zeros or kind != 8 or axes not in (1, 3):
        raise ValueError(f"{file.name} is no IDX file of bytes")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def cifar10(data: Data) -> Archive:
    """The binary version: cifar-10-binary.tar.gz, or what is in it."""
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return _cifar(data, "cifar-10-binary.tar.gz", {"train": train, "test": ["test_batch.bin"]}, 1, "batches.meta.txt")


def cifar100(data: Data) -> Archive:
    """The binary version, with the fine labels: cifar-100-binary.tar.gz, or what is in it."""
    files = {"train": ["train.bin"], "test": ["test.bin"]}
    return _cifar(data, "cifar-100-binary.tar.gz", files, 2, "fine_label_names.txt")


def _cifar(data: Data, archive: str, files: dict[str, list[str]], labels: int, names: str) -> Archive:
    """Records of so many labels, the last of which counts, and 3 planes of 32 x 32 pixels."""
    path = require_path(data, None, f"{archive}, or the directory of its files")
    if path.is_dir() and not (path / names).is_file() and (path / archive).is_file():
        path = path / archive
    where = f"config.data.path={data.path!r}"
    wanted = [names, *(file for part in files.values() for file in part)]
    if path.is_dir():
        found = {file: _found(data, path, [file]) for file in wanted}
        identity = " ".join(file_stamp(file) for file in found.values())
        content: Callable[[list[str]], dict[str, bytes]] = lambda wanted: {  # noqa: E731
            file: found[file].read_bytes() for file in wanted
        }
    else:
        identity, content = file_stamp(path), lambda wanted: _members(path, wanted)

    def arrays(name: str) -> Arrays:
        records = np.frombuffer(b"".join(content(files[name]).values()), np.uint8).reshape(-1, labels + 3 * _SIDE**2)
        return records[:, labels:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1), records[:, labels - 1]

    text = _read(data, path, lambda: content([names])[names].decode())
    class_names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not class_names:
        raise InputError(f"{where}: {names} is empty")
    return Archive(data, lambda name: _read(data, path, lambda: arrays(name)), class_names, f"cifar {identity}")


def _members(path: Path, wanted: list[str]) -> dict[str, bytes]:
    """The content of files of a tar archive by their names, in the order that is asked for."""
    found = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if (name := Path(member.name).name) in wanted and (file := archive.extractfile(member)):
                found[name] = file.read()
                if len(found) == len(wanted):
                    break
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"there is no {missing[0]} in it")
    return {name: found[name] for name in wanted}


def svhn_cropped(data: Data) -> Archive:
    """Format 2: train_32x32.mat and test_32x32.mat, in which the digit 0 has the label 10."""
    root = require_path(data, True, "the directory of train_32x32.mat and test_32x32.mat")
    files = {name: _found(data, root, [f"{name}_32x32.mat"]) for name in ("train", "test")}

    def arrays(name: str) -> Arrays:
        from scipy.io import loadmat

        found = loadmat(files[name], variable_names=("X", "y"))
        image, label = found["X"].transpose(3, 0, 1, 2), found["y"].reshape(-1)
        return image, np.where(label == 10, 0, label)

    identity = " ".join(map(file_stamp, files.values()))
    return Archive(data, lambda name: _read(data, files[name], lambda: arrays(name)), _DIGITS, f"svhn {identity}")


def _found(data: Data, root: Path, names: list[str]) -> Path:
    """The first of the files that is there. Raises InputError, naming the first."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise InputError(f"config.data.path={data.path!r}: expected {names[0]} in it, for config.data.name={data.name!r}")


def _read(data: Data, file: Path, read: Callable[[], Any]) -> Any:
    """What `read` gives. What is wrong with the file is an InputError."""
    try:
        return read()
    except Exception as error:  # readers of archives fail in any way on damaged ones
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"config.data.path={data.path!r}: {file.name} cannot be read: {reason}") from error


ARCHIVES: dict[str, Callable[[Data], Dataset]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "svhn_cropped": svhn_cropped,
    "cifar10": cifar10,
    "cifar100": cifar100,
}
