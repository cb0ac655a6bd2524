"""Reader of files of torch.save that needs no PyTorch and executes nothing that is in them.

A file is a pickle and the numbers of its tensors. A pickle names the classes and functions that make its objects. Here
none of them is imported: a tensor becomes a `Tensor`, a mapping a dict, and any other object a `Record`, which does
nothing but hold the attributes that the file gives it.
"""

import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from vqjax.system.errors import InputError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before PyTorch 1.6
_DTYPES = {  # by the storages' classes, in the modules torch and torch.storage
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "UntypedStorage": np.uint8,
}


class Record:
    """Stand-in for an object of any class, or for what any function returns.

    Attributes:
      attributes: of the object, by name.
    """

    __slots__ = ("attributes",)

    attributes: dict[str, Any]

    def __new__(cls, *_: Any, **__: Any) -> "Record":
        record = object.__new__(cls)
        record.attributes = {}
        return record

    def __init__(self, *_: Any, **__: Any):
        """Whatever the file would call the class or function with is forgotten."""

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            self.attributes.update(part if isinstance(part, dict) else {})

    def __setitem__(self, key: Any, value: Any) -> None:
        """Items are forgotten, as are those of the methods below: a subclass of list may have some."""

    def append(self, item: Any) -> None:
        pass

    extend = add = append


class _Dict(dict):
    """A mapping without attributes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage(NamedTuple):
    """Numbers that tensors are views of; `read` returns them from the file, (size,)."""

    read: Callable[[], np.ndarray]
    size: int


class Tensor(NamedTuple):
    """A tensor in the file.

    Attributes:
      storage: has its numbers.
      offset: of its first number there.
      shape: of the tensor.
      strides: in numbers.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def numpy(self) -> np.ndarray:
        """Read the numbers, as an array of the shape; float32 if they are of another floating dtype."""
        numbers = self.storage.read()
        if len(numbers) < self.storage.size:
            raise ValueError("its numbers are cut off")
        numbers = numbers[self.offset :]
        strides = [stride * numbers.itemsize for stride in self.strides]
        array = np.lib.stride_tricks.as_strided(numbers, self.shape, strides)
        return np.array(array, np.float32 if jnp.issubdtype(array.dtype, jnp.floating) else array.dtype)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Return the tensor that PyTorch would make of the arguments. Raises ValueError unless it is in its storage."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a tensor is damaged")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides))
    if len(shape) != len(strides) or (math.prod(shape) and last >= storage.size):
        raise ValueError("a tensor is larger than its numbers")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _first(value: Any, *_: Any) -> Any:
    return value


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
}


class _Unpickler(pickle.Unpickler):
    """An unpickler for which all classes and functions but those above are subclasses of `Record`."""

    def __init__(self, file: Any, storage: Callable[[np.dtype, str, int], _Storage]):
        """`storage` returns that of a dtype, a key and a count."""
        super().__init__(file, encoding="utf-8")
        self._storage = storage
        self._records: dict[tuple[str, str], type[Record]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        inert: Any = type(f"{module}.{name}", (Record,), {"__slots__": ()})
        return self._records.setdefault((module, name), inert)

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # a class with its source, of the old format
            return pid[1]
        _, dtype, key, _, count, *view = pid
        if pid[0] != "storage" or any(view) or type(count) is not int or count < 0:
            raise ValueError("a tensor is stored in a way that is not known here")
        return self._storage(dtype, str(key), count)


def read_torch(path: Path) -> Any:
    """Return what torch.save has written: tensors as `Tensor`, mappings as dicts, other objects as `Record`.

    Raises InputError if there is no such file, or it is another one.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except Exception as error:  # of a dozen types, as the bytes have it
        reason = str(error).partition("\n")[0][:200]
        raise InputError(
            f"{path}: expected a file as torch.save writes it: {reason or type(error).__name__}"
        ) from error


def _read_zip(path: Path) -> Any:
    """Read the format of PyTorch 1.6 and later: an archive with the pickle, and a file for each storage."""
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if name.endswith("data.pkl")]
    if len(names) != 1:
        raise ValueError("an archive without data.pkl")
    folder = names[0].removesuffix("data.pkl")

    def storage(dtype: np.dtype, key: str, count: int) -> _Storage:
        return _Storage(lambda: np.frombuffer(archive.read(f"{folder}data/{key}"), dtype, count), count)

    with archive.open(names[0]) as file:
        return _Unpickler(file, storage).load()


def _read_legacy(path: Path) -> Any:
    """Read the older format: three pickles of a header, the pickle, one of the storages' keys, and the storages."""
    places: dict[str, int] = {}  # of the storages' first bytes
    itemsizes: dict[str, int] = {}

    def storage(dtype: np.dtype, key: str, count: int) -> _Storage:
        itemsizes[key] = dtype.itemsize
        return _Storage(lambda: np.fromfile(path, dtype, count, offset=places[key]), count)

    def load(file: BinaryIO) -> Any:
        return _Unpickler(file, storage).load()

    with path.open("rb") as file:
        if load(file) != _MAGIC or load(file) != _PROTOCOL:
            raise ValueError("another pickle")
        load(file)  # of the machine
        content = load(file)
        for key in map(str, load(file)):
            count = int.from_bytes(file.read(8), "little")
            places[key] = file.tell()
            file.seek(count * itemsizes[key], 1)
        if file.tell() > path.stat().st_size:
            raise ValueError("it is cut off")
    return content
