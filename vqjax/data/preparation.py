"""Preparation of a set: its images decoded once, into shards that a run reads without decoding; see `sets.prepared`."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.data.files.damage import refuse_damage
from vqjax.data.sets.base import Dataset
from vqjax.data.sets.prepared import DESCRIPTION, FORMAT, Shard
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, read_json, require_empty_directory, wrap_write_errors, write_json
from vqjax.system.paths import absolute_path

SHARD_BYTES = 2**30  # of a shard, at most
_CHUNK = 256  # images that are decoded at a time
_OPTIONS = "group_size:1,uncompressed"  # each image is read alone


def prepare(dataset: Dataset, out: str | Path, progress: Callable[[str, int, int], Any]) -> Path:
    """Write the images of "train" and "test", decoded, and their labels.

    What an earlier call has written of the same set stays: one that was stopped is finished.

    Args:
      dataset: opened.
      out: directory, new, empty, or that of an earlier call.
      progress: called with a split, its images that are written, and their number.

    Returns:
      The path of the directory.

    Raises:
      InputError: the images cannot be read, or something else lies in the directory.
      WriteError: it cannot be written to.
    """
    _check(dataset)
    directory, facts = absolute_path(out, "--out"), _facts(dataset)
    written = _begun(directory, facts, out)
    with wrap_write_errors(directory, sum(dataset.sizes.values()) * math.prod(dataset.shape)):
        directory.mkdir(parents=True, exist_ok=True)
        for name in dataset.sizes:
            _write_split(directory, name, dataset.read(name), facts, written, progress)
    return directory


def _check(dataset: Dataset) -> None:
    """Raise InputError for what is drawn anew each time that an image is decoded."""
    for field, usual in (("resized_crop", 0.0), ("oversize", 1.0)):
        if (value := getattr(dataset.data, field)) != usual:
            raise InputError(
                f"config.data.{field}={value}: expected {usual}, since a prepared image has one crop; "
                "config.data.flip and config.data.crop are applied when it is read"
            )
    if dataset.data.limit:
        raise InputError(f"config.data.limit={dataset.data.limit}: expected 0, all images are prepared")


def _facts(dataset: Dataset) -> dict[str, Any]:
    """Description of a set, without its shards."""
    return {
        "format": FORMAT,
        "dataset": dataset.data.name,
        "source": {name: dataset.hash(name) for name in dataset.sizes},
        "shape": [*dataset.shape],
        "class_names": [*dataset.class_names],
        "sizes": dict(dataset.sizes),
        "validation": dataset.num_validation(0.0),  # of a set that says itself which images are for validation
    }


def _begun(directory: Path, facts: dict[str, Any], out: str | Path) -> dict[str, list[Shard]]:
    """Shards that an earlier call has written. InputError if it was of another set, or other files lie there."""
    if not (directory / DESCRIPTION).exists():
        require_empty_directory(out)
        return {}
    with refuse_damage(f"--out={out}: {DESCRIPTION} cannot be read", "Delete it, and all images are written again"):
        found: dict[str, Any] = dict(read_json(directory / DESCRIPTION))
        shards = found.pop("shards", {})
        if found != facts:
            raise InputError(f"--out={out} has another data set, or other images of it: expected an empty directory")
        return {name: [Shard(*shard) for shard in parts] for name, parts in shards.items()}


def _write_split(
    directory: Path,
    name: str,
    split: Split,
    facts: dict[str, Any],
    written: dict[str, list[Shard]],
    progress: Callable[[str, int, int], Any],
) -> None:
    """Write the labels of a split and the shards that are missing; the description after each."""
    with atomic_write(directory / f"{name}-labels.npy") as path:
        np.save(path, np.asarray(split.arrays["label"], np.int32))
    per_shard = max(1, SHARD_BYTES // math.prod(facts["shape"]))
    total = -(-len(split) // per_shard)
    before, shards = {shard.file: shard for shard in written.get(name, [])}, []
    for number in range(total):
        file = f"{name}-{number:05}-of-{total:05}.array_record"
        if file in before and (directory / file).is_file():
            shards.append(before[file])
            continue
        shards.append(_write_shard(directory / file, split[number * per_shard : (number + 1) * per_shard]))
        written[name] = shards + [shard for shard in before.values() if shard.file > file]
        write_json(directory / DESCRIPTION, {**facts, "shards": {key: [*map(list, x)] for key, x in written.items()}})
        progress(name, sum(shard.num_images for shard in shards), len(split))


def _write_shard(path: Path, part: Split) -> Shard:
    """Write images, which appear whole or not at all."""
    from array_record.python import array_record_module

    digest = hashlib.sha256()
    with atomic_write(path, durable=True) as temporary:
        writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)
        for start in range(0, len(part), _CHUNK):
            for image in np.asarray(part[start : start + _CHUNK].arrays["image"]):
                pixels = np.ascontiguousarray(image).tobytes()
                writer.write(pixels)
                digest.update(pixels)
        writer.close()
    return Shard(path.name, len(part), digest.hexdigest())
