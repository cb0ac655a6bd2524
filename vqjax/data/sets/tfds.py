"""Image sets of TensorFlow Datasets, read without TensorFlow."""

import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.config.schema import Data, parse_size
from vqjax.data import array_cache, images
from vqjax.data.files.damage import first_line, refuse_damage
from vqjax.data.files.names import some
from vqjax.data.sets.base import Dataset, file_stamp
from vqjax.data.sets.division import split_of
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.system.text import printable

_CHUNK = 256  # images that are read at a time


def data_directory(data: Data) -> str:
    """Return the directory that a set is looked for in."""
    key = "config.data.data_dir" if data.data_dir else "TFDS_DATA_DIR"
    return str(absolute_path(data.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", key))


class TfdsDataset(Dataset):
    """Set that TFDS has prepared as ArrayRecord; shape, classes and sizes are what its own metadata says."""

    uses = ("data_dir", "size", "channels", "resized_crop", "oversize")

    def __init__(self, data: Data, source: str, test: str = "test"):
        """Find the set.

        Args:
          data: `config.data`.
          source: <name>[/<config>], as TFDS calls it.
          test: its split that is for test; without that, its validation is for test.

        Raises:
          InputError: it is not there or not prepared as ArrayRecord, or is no set of images with train and test.
        """
        super().__init__(data)
        self._where = f"config.data.name={data.name!r}"
        builder = _prepared(data, source, self._where)
        self._image, self._label = self._features(builder.info.features)
        self._parts = self._find(builder.info.splits, test)
        self.sizes = {
            name: sum(builder.info.splits[part].num_examples for part in parts) for name, parts in self._parts.items()
        }
        size = parse_size(data.size, "config.data.size")
        self.shape = self._find_shape(builder.info.features[self._image].shape, size)
        files = [Path(path) for parts in self._parts.values() for part in parts for path in _files(builder, part)]
        stamp = " ".join(file_stamp(path) for path in files if path.exists())
        self.identity = f"tfds {builder.info.full_name} {stamp} {self.shape} {bool(size)}"
        self._size, self._source_name = size, source

    def _features(self, features: Any) -> tuple[str, str]:
        """Return the names of the image and of the label, "" for none; set `class_names`."""
        import tensorflow_datasets as tfds

        named = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
        chosen = []
        for usual, kind in (("image", tfds.features.Image), ("label", tfds.features.ClassLabel)):
            names = sorted((name for name in named if type(named[name]) is kind), key=lambda name: name != usual)
            if len(names) > 1 and names[0] != usual:
                self._notes.append(f"{usual}: {printable(names[0])} is used, of {some(names)}")
            chosen.append(names[0] if names else "")
        image, label = chosen
        if not image:
            raise InputError(f"{self._where}: expected a set of images, found {some([*named]) or type(features)}")
        self.class_names = tuple(named[label].names) if label else ()
        return image, label

    def _find(self, splits: Any, test: str) -> dict[str, list[str]]:
        """Return {"train" and "test": the set's splits that each is made of}; set what is for validation."""
        names = {split: _called(splits, split) for split in ("train", "validation", "test")}
        if not names["train"] or not (names["test"] or names["validation"]):
            raise InputError(f"{self._where}: expected splits train and test or validation, found {some([*splits])}")
        chosen = test if test in splits else names["test"]
        if not chosen:
            chosen = names["validation"]
            self._notes.append("there is no test: validation serves as that")
        validation = [names["validation"]] if names["validation"] not in ("", chosen) else []
        self._validation = splits[validation[0]].num_examples if validation else None
        used = [names["train"], *validation, chosen]
        if guessed := [name for name in used if name not in names]:
            self._notes.append("taken for splits: " + ", ".join(f"{printable(x)} for {split_of(x)}" for x in guessed))
        if others := sorted({*splits} - {*used}):
            self._notes.append(f"splits that are not used: {some(others)}")
        return {"train": [names["train"], *validation], "test": [chosen]}

    def _find_shape(self, shape: tuple[int | None, ...], size: tuple[int, int] | None) -> tuple[int, ...]:
        """Return (H, W, C). Raises InputError if the images have several sizes and none is given."""
        height, width = size or shape[:2]
        channels = self.data.channels or shape[2]
        if height is None or width is None:
            raise InputError(f"{self._where} has images of several sizes: expected --config.data.size, 64 for example")
        if channels not in (1, 3):
            raise InputError(f"{self._where} has images of {shape[2]} channels: expected config.data.channels=1 or 3")
        return height, width, channels

    def num_validation(self, share: float) -> int:
        return super().num_validation(share) if self._validation is None else self._validation

    def source(self, name: str) -> "TfdsSource":
        return self._source(name, self._size)

    def _source(self, name: str, size: tuple[int, int] | None) -> "TfdsSource":
        return TfdsSource(self._source_name, self.data, self._parts[name], self._image, size, self.shape)

    def decode(self, name: str) -> Split:
        source, count = self._source(name, self.oversize(self._size) if self._size else None), self.sizes[name]
        shape = *self.oversize(self.shape[:2]), self.shape[2]
        image, label = np.empty((count, *shape), np.uint8), np.zeros(count, np.int32)
        for row, example in enumerate(source.examples()):
            image[row] = source.image(row, example)
            label[row] = example[self._label] if self._label else 0
        return Split(image=image, label=label)

    def labels(self, name: str) -> np.ndarray:
        if not self._label or not self.streamed:
            return super().labels(name)
        examples = self.source(name).examples

        def read() -> dict[str, np.ndarray]:
            return {"label": np.fromiter((example[self._label] for example in examples()), np.int32, self.sizes[name])}

        return array_cache.cached_arrays(f"{self.identity} {name} labels" * self.data.cache, read)[0]["label"]


class TfdsSource:
    """Source of splits one after another, whose images are decoded one by one; see `streaming.Source`."""

    def __init__(
        self,
        source: str,
        data: Data,
        parts: list[str],
        image: str,
        size: tuple[int, int] | None,
        shape: tuple[int, ...],
    ):
        """Find images.

        Args:
          source: <name>[/<config>] of the set.
          data: `config.data`.
          parts: splits of the set.
          image: name of the feature.
          size: (H, W) that images are fitted to; None: as they are.
          shape: (H, W, C) of an image.
        """
        self.shape, self.workers = shape, data.workers
        self._arguments = source, data_directory(data), parts
        self._data, self._image, self._size = data, image, size
        self._open: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": []}  # files are opened where they are read

    def _sources(self) -> list[Any]:
        """Return TFDS's own sources of the parts, in which images are bytes."""
        if not self._open:
            import tensorflow_datasets as tfds

            source, directory, parts = self._arguments
            builder = _builder(source, directory)
            skip = {self._image: tfds.decode.SkipDecoding()}
            self._open = [builder.as_data_source(part, decoders=skip) for part in parts]
        return self._open

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yield all examples, in order."""
        with refuse_damage(f"{self.where} is damaged"):
            for source in self._sources():
                for start in range(0, len(source), _CHUNK):
                    yield from source.__getitems__(range(start, min(start + _CHUNK, len(source))))

    def decode(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        number = row
        with refuse_damage(f"{self.where} is damaged"):
            for source in self._sources():
                if number < len(source):
                    break
                number -= len(source)
            example = source[number]
        return self.image(row, example, rng)

    def image(self, row: int, example: dict[str, Any], rng: np.random.Generator | None = None) -> np.ndarray:
        """Decode the image of an example, which is bytes."""
        try:
            return images.decode_image(example[self._image], self._size, self.shape[-1], self._data.resized_crop, rng)
        except InputError as error:
            raise InputError(f"config.data.name={self._data.name!r}: image {row}: {error}") from error

    @property
    def where(self) -> str:
        """Name and directory of the set, for messages."""
        return f"config.data.name={self._data.name!r} in {self._arguments[1]}"


def _builder(source: str, directory: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder(source, data_dir=directory, file_format="array_record")


def _called(splits: Iterable[str], split: str) -> str:
    """Return the name of a split among those of a set; "" if it has none."""
    names = [name for name in splits if split_of(name) == split]
    return split if split in names else names[0] if names else ""


def _files(builder: Any, split: str) -> list[str]:
    return [os.fspath(path) for path in builder.info.splits[split].filepaths]


def _prepared(data: Data, source: str, where: str) -> Any:
    """Return TFDS's builder of a set that lies there as ArrayRecord; prepared there first if TensorFlow is here."""
    import tensorflow_datasets as tfds

    directory = data_directory(data)
    looked = f"config.data.data_dir={directory}" if data.data_dir else directory
    try:
        builder = _builder(source, directory)
        prepared = builder.is_prepared()
    except tfds.core.registered.DatasetNotFoundError as error:
        raise InputError(f"{where}: TFDS has no such set, and none of that name lies in {looked}") from error
    except ValueError as error:  # TFDS's word for a set that is there as TFRecord, its default
        raise InputError(
            f"{where}: expected ArrayRecord in {looked}, but: {first_line(error)}\n"
            "Prepare it in another directory, and name that in config.data.data_dir or TFDS_DATA_DIR."
        ) from error
    except Exception as error:  # damaged and hostile metadata fails in any way
        raise InputError(f"{where} in {looked} is damaged: {first_line(error)}") from error
    if not prepared:
        if not importlib.util.find_spec("tensorflow"):
            raise InputError(
                f"{where} is not prepared as ArrayRecord in {looked}.\n"
                f"To prepare it there (TFDS needs TensorFlow for that, once):\n"
                f"  pip install tensorflow-cpu\n  tfds build {source} --file_format=array_record "
                f"--data_dir={directory}\nOr name a directory that holds it: --config.data.data_dir, --data_dir in "
                "later commands, or TFDS_DATA_DIR."
            )
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InputError(f"{where} could not be prepared in {directory}: {first_line(error)}") from error
    return builder
