"""Codes that leave in each format, what reads them there, and the way back to images."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import rewrite
from PIL import Image

import vqjax
from vqjax import __main__
from vqjax.inference.decoding import READERS, decode, read_exported
from vqjax.inference.export_codes import FORMATS, export_codes
from vqjax.system.errors import InputError
from vqjax.system.files import read_json
from vqjax.tasks.stage1 import Stage1

# format -> its file of the test split; nanoGPT's is the one that a run without a validation share is watched on
FILES = {"numpy": "test_codes.npy", "nanogpt": "val.bin", "parquet": "test.parquet"}


@pytest.fixture(scope="module")
def exports(trained_stage1, tmp_path_factory):
    """A directory of each format, with the test split of a tiny autoencoder of 16 codes, as commands write them."""
    root = tmp_path_factory.mktemp("exports")
    for form in FORMATS:
        split = [] if form == "nanogpt" else ["--split", "test"]
        arguments = ["codes", "--format", form, "--workdir", str(trained_stage1), "--out", str(root / form), *split]
        __main__.main(["export", *arguments])
    return root


@pytest.fixture(scope="module")
def tokenizer(trained_stage1):
    return vqjax.load(trained_stage1)


@pytest.fixture(scope="module")
def kept(trained_stage1):
    """The codes and labels of the test split as stage 1 has them."""
    stage1 = Stage1(trained_stage1)
    return stage1.read(stage1.config, "test").arrays


def test_every_format_and_every_reader_is_tried():
    assert {*FILES} == {*FORMATS} and {"." + name.rpartition(".")[2] for name in FILES.values()} == {*READERS}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_is_read_back(form, exports, kept, trained_stage1):
    split, meta = read_exported(exports / form / FILES[form])
    np.testing.assert_array_equal(split.arrays["codes"], kept["codes"])
    if form != "numpy":  # there the labels are a file of their own
        np.testing.assert_array_equal(split.arrays["label"], kept["label"])
        assert split.arrays["label"].dtype == np.int32
    assert meta["fingerprint"] == Stage1(trained_stage1).fingerprint and meta["num_codes"] == 16


@pytest.mark.parametrize("form", FORMATS)
def test_and_decoded_to_the_tokenizers_images(form, exports, tokenizer, kept, trained_stage1, tmp_path, capsys):
    file = exports / form / FILES[form]
    __main__.main(["decode", "--workdir", str(trained_stage1), "--codes", str(file), "--out", str(tmp_path / "out")])
    assert "warning" not in capsys.readouterr().out
    images = np.load(tmp_path / "out" / "images.npy")
    assert images.dtype == np.uint8 and images.shape == (360, 8, 8, 1)
    np.testing.assert_allclose(images, 255 * tokenizer.decode(kept["codes"]), atol=0.501)
    with Image.open(tmp_path / "out" / "images.png") as picture:
        assert picture.width == 4 * picture.height - 6  # 16 x 4 of the 360, with lines between
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"images.npy", "images.png"}


def test_nanogpts_own_way_of_reading(exports, kept):
    """Its train.py maps the file as uint16; an image is its class token and then its codes, row by row."""
    data = np.memmap(exports / "nanogpt" / "val.bin", dtype=np.uint16, mode="r")
    assert len(data) == 360 * 17 and data.max() < 16 + 10
    for image in (0, 7, 359):
        row = data[17 * image : 17 * (image + 1)]
        assert row[0] == 16 + kept["label"][image]
        assert row[1:].tolist() == [code for line in kept["codes"][image] for code in line]
    assert len(np.memmap(exports / "nanogpt" / "train.bin", dtype=np.uint16, mode="r")) == 1437 * 17


def test_meta_says_how_to_go_back(exports, kept):
    meta = read_json(exports / "nanogpt" / "meta.json")
    assert meta["vocab_size"] == 26 and meta["num_classes"] == 10 and meta["tokens_per_image"] == 17
    assert {name: entry["count"] for name, entry in meta["splits"].items()} == {"train": 1437, "test": 360}
    file = exports / "nanogpt" / "val.bin"
    rows = eval(meta["back"].partition(":")[0], {"np": np, "file": file, **meta})
    np.testing.assert_array_equal(rows[:, 0] - meta["num_codes"], kept["label"])
    np.testing.assert_array_equal(rows[:, 1:].reshape(-1, *meta["grid"]), kept["codes"])


def test_nanogpt_takes_the_validation_share_if_there_is_one(stage1, tmp_path):
    recorded = read_json(stage1 / "config.json")
    rewrite(stage1 / "config.json", data={**recorded["data"], "validation": 0.1})
    export_codes(str(stage1), None, str(tmp_path / "out"), "nanogpt")
    meta = read_json(tmp_path / "out" / "meta.json")
    assert {name: entry["count"] for name, entry in meta["splits"].items()} == {"train": 1293, "validation": 144}
    found = Stage1(stage1)
    whole = found.read(found.config, "train").arrays["codes"]
    np.testing.assert_array_equal(read_exported(tmp_path / "out" / "val.bin")[0].arrays["codes"], whole[1293:])


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i8", ">u2", "<u8"])
def test_codes_of_any_integer_type_and_any_grid(dtype, tokenizer, trained_stage1, tmp_path, monkeypatch):
    """Written part by part, 5 images at a time."""
    monkeypatch.setattr("vqjax.inference.decoding._BATCH", 8)
    monkeypatch.setattr("vqjax.inference.decoding._BATCHES", 1)
    array = np.random.default_rng(0).integers(0, 16, (21, 6, 5)).astype(dtype)
    np.save(tmp_path / "codes.npy", array)
    decode(str(trained_stage1), str(tmp_path / "codes.npy"), str(tmp_path / "out"))
    images = np.load(tmp_path / "out" / "images.npy")
    assert images.shape == (21, 12, 10, 1)
    np.testing.assert_allclose(images, 255 * tokenizer.decode(array), atol=0.501)


def test_samples_of_a_model_beside_the_export(exports, tmp_path):
    """As a GPT leaves them: not listed in meta.json, with their class tokens."""
    for name in ("meta.json", "val.bin"):
        (tmp_path / name).write_bytes((exports / "nanogpt" / name).read_bytes())
    drawn = np.concatenate([np.full((3, 1), 18), np.tile(np.arange(16), (3, 1))], 1).astype("<u2")
    drawn.tofile(tmp_path / "samples.bin")
    split, _ = read_exported(tmp_path / "samples.bin")
    assert (
        split.arrays["label"].tolist() == [2, 2, 2]
        and split.arrays["codes"][1].tolist() == split.arrays["codes"][0].tolist()
    )
    drawn[1, 0] = 15
    drawn.tofile(tmp_path / "samples.bin")
    with pytest.raises(InputError, match="expected a class token, 16 to 25, before each image"):
        read_exported(tmp_path / "samples.bin")
    drawn[:, :-1].tofile(tmp_path / "samples.bin")
    with pytest.raises(InputError, match="96 bytes: expected a multiple of 17 tokens of 2 bytes"):
        read_exported(tmp_path / "samples.bin")
    with (tmp_path / "val.bin").open("r+b") as file:
        file.write(b"\x11")
    with pytest.raises(InputError, match="val.bin does not fit the checksum"):
        read_exported(tmp_path / "val.bin")


def test_codes_of_another_tokenizer_are_told(exports, trained_stage1, tmp_path, capsys):
    for name in ("meta.json", FILES["numpy"]):
        (tmp_path / name).write_bytes((exports / "numpy" / name).read_bytes())
    rewrite(tmp_path / "meta.json", fingerprint="0" * 64)
    decode(str(trained_stage1), str(tmp_path / FILES["numpy"]), str(tmp_path / "out"))
    assert "warning: " in capsys.readouterr().out and (tmp_path / "out" / "images.npy").exists()


BAD = {
    "floats": (np.zeros((2, 4, 4)), "codes of dtype float64: expected integers"),
    "bools": (np.zeros((2, 4, 4), bool), "codes of dtype bool: expected integers"),
    "flat": (np.zeros((2, 16), int), r"codes of shape \(2, 16\): expected \(N, h, w\)"),
    "number": (np.int32(3), r"codes of shape \(\): expected \(N, h, w\)"),
    "none": (np.zeros((0, 4, 4), int), "found none"),
    "negative": (np.full((2, 4, 4), -1), "codes from -1 to -1: expected 0 to 15"),
    "large": (np.full((2, 4, 4), 500), "codes from 500 to 500: expected 0 to 15"),
    "wraps": (np.full((2, 4, 4), 1 << 32), "codes from 4294967296 to 4294967296: expected 0 to 15"),
    "objects": (np.array([[[None]]]), "expected an array of integers as np.save writes it"),
}


@pytest.mark.parametrize("name", BAD)
def test_decode_refuses_wrong_arrays(name, trained_stage1, tmp_path):
    array, message = BAD[name]
    np.save(tmp_path / "codes.npy", array)
    with pytest.raises(InputError, match=f"--codes.*codes.npy: .*{message}"):
        decode(str(trained_stage1), str(tmp_path / "codes.npy"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_code_out_of_range_at_the_end_of_a_long_file_is_found_before_anything_is_written(trained_stage1, tmp_path):
    array = np.zeros((10_000, 4, 4), np.uint8)
    array[-1, -1, -1] = 16
    np.save(tmp_path / "codes.npy", array)
    with pytest.raises(InputError, match="codes from 0 to 16: expected 0 to 15"):
        decode(str(trained_stage1), str(tmp_path / "codes.npy"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_decode_refuses_what_is_no_file_of_codes(trained_stage1, exports, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "pickled.npy").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "pickled.parquet").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "alone.bin").write_bytes(b"\0" * 34)
    np.savez(tmp_path / "archive.npz", codes=np.zeros((2, 4, 4), int))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    pq.write_table(pa.table({"other": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"codes": ["text"]}), tmp_path / "text.parquet")
    (tmp_path / "folder.npy").mkdir()
    for name, message in (
        ("pickled.npy", "expected an array of integers"),
        ("pickled.parquet", "expected Parquet"),
        ("empty.npy", "expected an array of integers"),
        ("archive.npy", "expected an array of integers"),
        ("alone.bin", "expected the meta.json of `vqjax export codes --format nanogpt` beside it"),
        ("other.parquet", "expected Parquet with a column 'codes'"),
        ("text.parquet", "expected Parquet with a column 'codes'"),
        ("nowhere.npy", "expected a file, found none"),
        ("folder.npy", "expected a file, found a directory"),
        ("codes.txt", "expected a file that ends in .npy, .bin, .parquet"),
    ):
        with pytest.raises(InputError, match=f"--codes: .*{name}.*{message}") as raised:
            decode(str(trained_stage1), str(tmp_path / name), str(tmp_path / "out"))
        assert len(str(raised.value).splitlines()) <= 4
    assert not (tmp_path / "out").exists() and not (tmp_path / "executed").exists()
    with pytest.raises(InputError, match="--out=.* is in use: expected an empty directory or none"):
        decode(str(trained_stage1), str(exports / "numpy" / FILES["numpy"]), str(tmp_path))


@pytest.mark.parametrize("form", FORMATS)
def test_a_directory_holds_one_format_of_one_stage1(form, exports, trained_stage1, tmp_path):
    """Into its own a format writes again; into those of others, and into that of another stage 1, it does not."""
    split = None if form == "nanogpt" else "test"
    before = {path: path.read_bytes() for path in exports.rglob("*") if path.is_file()}
    export_codes(str(trained_stage1), split, str(exports / form), form)
    for other in {*FORMATS} - {form}:
        with pytest.raises(InputError, match="--out=.*: expected codes of the same stage 1, in this format"):
            export_codes(str(trained_stage1), split, str(exports / other), form)
    assert {path: path.read_bytes() for path in exports.rglob("*") if path.is_file()} == before
    theirs = {**Stage1(trained_stage1).description, "fingerprint": "0" * 64}
    codes, label = {"codes": np.zeros((3, 4, 4), np.uint8)}, np.zeros(3, np.int32)
    FORMATS[form].write(tmp_path / "theirs", theirs, "test", [codes], label)
    with pytest.raises(InputError, match="--out=.*: expected codes of the same stage 1, in this format"):
        export_codes(str(trained_stage1), split, str(tmp_path / "theirs"), form)


def test_nanogpt_has_no_split_to_choose(trained_stage1, tmp_path):
    with pytest.raises(InputError, match="--split=test: --format=nanogpt writes train, and validation or else test"):
        export_codes(str(trained_stage1), "test", str(tmp_path / "out"), "nanogpt")
