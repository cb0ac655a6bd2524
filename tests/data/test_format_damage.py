"""Damaged and hostile files of codes: one line each, and nothing is executed."""

import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from code_layouts import LAYOUTS, MODULES, description, random_codes

from vqjax.data.formats import nanogpt, npy, parquet
from vqjax.system.errors import InputError
from vqjax.system.files import read_json


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


DEEP = "[" * 5_000 + "]" * 5_000


def change(**fields):
    return lambda meta: json.dumps({**json.loads(meta), **fields})


META = {
    "nested": lambda meta: DEEP,
    "nested inside": lambda meta: meta.replace('"made up"', DEEP),
    "text": lambda meta: "no JSON",
    "bytes": lambda meta: "\0",
    "a list": lambda meta: "[]",
    "a number": lambda meta: "1e308",
    "grid of text": change(grid="x"),
    "grid of a huge number": change(grid=[1e308, 1]),
    "grid of an endless number": lambda meta: meta.replace("[\n    2,\n    3\n  ]", "[Infinity, 1]"),
    "large grid": change(grid=[2**40, 2**40]),
    "no grid": change(grid=[]),
    "negative grid": change(grid=[-2, -3]),
    "codes of text": change(num_codes="x"),
    "no codes": change(num_codes=0),
    "levels of text": change(levels="top"),
    "levels of numbers": change(levels=[1, 2]),
    "levels of the same name": change(levels=[{"name": "a", "grid": [1, 1], "num_codes": 4}] * 2),
    "levels of another shape": change(levels=[{"name": "a", "grid": [9, 9], "num_codes": 4}]),
    "classes of numbers": change(class_names=7),
    "splits of numbers": change(splits={"train": 7}),
    "splits of a list": change(splits=[1]),
    "splits of nothing": change(splits={"train": {}}),
    "no fingerprint": change(fingerprint=None),
    "fewer codes": change(num_codes=3),
}


@pytest.mark.parametrize("damage", META)
@pytest.mark.parametrize("form", ["npy", "nanogpt"])
def test_a_damaged_description_is_one_line(tmp_path, form, damage):
    codes, label = random_codes(LAYOUTS["image"], 6)
    MODULES[form].write_codes(tmp_path, description(LAYOUTS["image"]), "train", [codes], label, files=["a"] * 6)
    meta = tmp_path / "meta.json"
    meta.write_text(META[damage](meta.read_text()))
    try:
        assert (
            npy.read_codes(tmp_path, None, "train") if form == "npy" else nanogpt.read_codes(tmp_path / "train.bin")
        ) is None
    except InputError as error:
        assert len(str(error).splitlines()) == 1 and str(tmp_path) in str(error)
    for read in (MODULES[form].read_fingerprint, lambda directory: npy.read_files(directory, "train")):
        try:
            read(tmp_path)
        except InputError as error:
            assert len(str(error).splitlines()) == 1 and str(tmp_path) in str(error)


@pytest.mark.parametrize(
    "text", [DEEP, "x", "[]", '{"grid": [9, 9], "num_codes": 4}', '{"grid": "x", "num_codes": 4}', '{"levels": 1}']
)
def test_a_damaged_description_of_parquet_is_one_line(tmp_path, text):
    schema = pa.schema([("codes", pa.list_(pa.int64()))], {b"vqjax": text})
    pq.write_table(pa.table({"codes": [[1] * 6]}, schema=schema), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="a.parquet: expected Parquet") as refused:
        parquet.read_codes(tmp_path / "a.parquet")
    assert len(str(refused.value).splitlines()) == 1
    assert parquet.read_fingerprint(tmp_path) is None


def write_pickle(path):
    np.save(path, np.array([Hostile()] * 6), allow_pickle=True)


def write_header(path):
    with open(path, "wb") as file:  # a header that claims more than there is
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2, 3)})


def write_archive(path):
    with open(path, "wb") as file:
        np.savez(file, codes=np.zeros((6, 2, 3), np.uint8))


FILES = {
    "pickle": write_pickle,
    "bare pickle": lambda path: path.write_bytes(pickle.dumps(Hostile())),
    "header": write_header,
    "archive": write_archive,
    "empty": lambda path: path.write_bytes(b""),
    "floats": lambda path: np.save(path, np.zeros((6, 2, 3))),
    "fewer rows": lambda path: np.save(path, np.zeros((5, 2, 3), np.uint8)),
    "large codes": lambda path: np.save(path, np.full((6, 2, 3), 16, np.uint8)),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_arrays_are_one_line(tmp_path, monkeypatch, name):
    """With a checksum in meta.json that fits them; nothing is executed."""
    monkeypatch.chdir(tmp_path)
    codes, label = random_codes(LAYOUTS["image"], 6)
    npy.write_codes(tmp_path / "codes", description(LAYOUTS["image"]), "train", [codes], label)
    path = tmp_path / "codes" / "train_codes.npy"
    FILES[name](path)
    with pytest.raises(InputError, match="train_codes.npy does not fit the checksum"):
        npy.read_codes(tmp_path / "codes", None, "train")
    meta = read_json(tmp_path / "codes" / "meta.json")
    meta["splits"]["train"]["codes"]["sha256"] = npy.file_checksum(path)
    (tmp_path / "codes" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="codes") as refused:
        npy.read_codes(tmp_path / "codes", None, "train")
    assert len(str(refused.value).splitlines()) == 1 and not os.path.exists("executed")
