"""Hostile files where sets are read from: one line, nothing is executed, and no more memory than a file can have."""

import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
import sets

from vqjax.data import array_cache
from vqjax.system.errors import InputError

DEEP = "[" * 5_000 + "]" * 5_000


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def idx_of_terabytes(root):
    sets.mnist(root)
    header = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 28, 28)
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))


def idx_that_unpacks_to_more(root):
    sets.mnist(root)
    content = struct.pack(">HBB3I", 0, 8, 3, 30, 28, 28) + bytes(50_000_000)
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))


def idx_that_is_a_pickle(root):
    sets.mnist(root)
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(pickle.dumps(Hostile())))


def archive_of_a_link(root):
    with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("batches.meta.txt")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)


def archive_of_nothing(root):
    with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../../batches.meta.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"a\nb\n"))


def mat_of_a_pickle(root):
    sets.svhn(root)
    (root / "test_32x32.mat").write_bytes(pickle.dumps(Hostile()))


def table_of_short_rows(root):
    sets.mini_imagenet(root)
    (root / "val.csv").write_text("filename,label\nonly\n")


def annotations_without_classes(root):
    sets.tiny_imagenet(root)
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\n")


def deep_metadata(root):
    sets.tiny_tfds(root)
    for path in root.rglob("dataset_info.json"):
        path.write_text(DEEP)


def other_metadata(root):
    sets.tiny_tfds(root)
    for path in root.rglob("features.json"):
        path.write_text("[]")


FILES = {
    idx_of_terabytes: ("mnist", "train-images-idx3-ubyte.gz says that it has 3,367,254,359,280 bytes"),
    idx_that_unpacks_to_more: ("mnist", "train-images-idx3-ubyte.gz cannot be read"),
    idx_that_is_a_pickle: ("mnist", "t10k-labels-idx1-ubyte.gz cannot be read"),
    archive_of_a_link: ("cifar10", "cannot be read"),
    archive_of_nothing: ("cifar10", "there is no"),
    mat_of_a_pickle: ("svhn_cropped", "test_32x32.mat cannot be read"),
    table_of_short_rows: ("mini_imagenet", "val.csv: expected the columns filename and label"),
    annotations_without_classes: ("tiny_imagenet", "'' is none of the 3 classes"),
    deep_metadata: ("tfds/tiny", ""),
    other_metadata: ("tfds/tiny", ""),
}


@pytest.mark.parametrize("write", FILES, ids=lambda write: write.__name__)
def test_one_line(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "set"
    root.mkdir()
    write(root)
    name, message = FILES[write]
    fields = {"data_dir": str(root)} if name.startswith("tfds") else {"path": root}
    with pytest.raises(InputError) as refused:
        sets.opened(name, **fields, **({"size": "32"} if name == "mini_imagenet" else {}))
    assert message in str(refused.value) and len(str(refused.value).splitlines()) == 1 + (write is other_metadata)
    assert f"config.data.name={name!r}" in str(refused.value) or str(root) in str(refused.value)
    assert not os.path.exists("executed")


def test_a_list_of_files_does_not_lead_out(tmp_path):
    """Of the directory that a user named."""
    secret = sets.picture(7, 84, 84)
    sets.save(tmp_path / "secret.jpg", secret, format="JPEG")
    sets.mini_imagenet(tmp_path / "set")
    rows = (tmp_path / "set" / "train.csv").read_text()
    (tmp_path / "set" / "train.csv").write_text(f"{rows}../../secret.jpg,n00000000\n")
    found = sets.opened("mini_imagenet", path=tmp_path / "set", size="32", test=0.3)
    assert found.bad == {"images/../../secret.jpg": "outside of config.data.path"}
    assert not any("secret" in path for name in ("train", "test") for path in found.files(name))


@pytest.mark.parametrize(
    "text", [DEEP, "[]", '{"format": 2, "files": [1]}', '{"format": 2, "files": {"ant/0.png": 7}}', "\0"]
)
def test_what_is_kept_and_damaged_is_made_again(tmp_path, monkeypatch, text):
    monkeypatch.setenv("VQJAX_CACHE", str(tmp_path / "cache"))
    sets.folder(tmp_path / "photos", 30)
    before = sets.opened("folder", path=tmp_path / "photos").hash("train")
    for path in (tmp_path / "cache").rglob("*.json"):
        path.write_text(text)
    assert sets.opened("folder", path=tmp_path / "photos").hash("train") == before


def test_arrays_that_are_kept_and_claim_more_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VQJAX_CACHE", str(tmp_path))
    make = lambda: {"a": np.arange(4)}  # noqa: E731
    array_cache.cached_arrays("key", make)
    (meta,) = tmp_path.rglob("meta.json")
    for change in ('"shape": [\n        4', '"bytes": 160'):
        text = meta.read_text()
        assert change in text
        meta.write_text(text.replace(change, change[:-1] + "9" * 30))
        np.testing.assert_array_equal(array_cache.cached_arrays("key", make)[0]["a"], np.arange(4))
