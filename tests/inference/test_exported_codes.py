"""Codes that leave in each format, what reads them there, and the way back to images."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import small_autoencoder
from helpers import dataset_of, rewrite
from PIL import Image

import vqjax
from vqjax.__main__ import main
from vqjax.codes import CodeLayout, Level, single_level
from vqjax.data.formats import npy, parquet
from vqjax.inference.exports import decoding
from vqjax.inference.exports.codes import FORMATS
from vqjax.inference.exports.reading import READERS, read_exported
from vqjax.system.errors import InputError
from vqjax.system.files import read_json
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop

LAYOUT = single_level((4, 4), 16)
# format -> its file of the test split; nanoGPT's is the one that a run without a validation share is watched on
FILES = {"numpy": "test_codes.npy", "nanogpt": "val.bin", "parquet": "test.parquet"}


def decode(workdir, codes, out, *words):
    """The command."""
    return main(["decode", str(workdir), "--codes", str(codes), "--out", str(out), *words])


def export_codes(workdir, split, out, form="numpy"):
    """The command."""
    words = [] if split is None else ["--split", split]
    return main(["export", "codes", str(workdir), "--format", form, "--out", str(out), *words])


@pytest.fixture(scope="module")
def exports(trained_stage1, tmp_path_factory):
    """A directory of each format, with the test split of a tiny autoencoder of 16 codes, as commands write them."""
    root = tmp_path_factory.mktemp("exports")
    for form in FORMATS:
        export_codes(trained_stage1, None if form == "nanogpt" else "test", root / form, form)
    return root


@pytest.fixture(scope="module")
def tokenizer(trained_stage1):
    return vqjax.Tokenizer.load(trained_stage1)


@pytest.fixture(scope="module")
def kept(trained_stage1):
    """The codes and labels of the test split as stage 1 has them."""
    stage1 = Stage1(trained_stage1)
    return stage1.read(dataset_of(vqjax.load(trained_stage1).config), "test").arrays


def test_every_format_and_every_reader_is_tried():
    tried = {"." + name.rpartition(".")[2] for name in FILES.values()}
    assert {*FILES} == {*FORMATS} and {*tried, ".npz"} == {*READERS}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_is_read_back(form, exports, kept, trained_stage1):
    split, meta = read_exported(exports / form / FILES[form], LAYOUT)
    np.testing.assert_array_equal(split.arrays["codes"], kept["codes"])
    if form != "numpy":  # there the labels are a file of their own
        np.testing.assert_array_equal(split.arrays["label"], kept["label"])
        assert split.arrays["label"].dtype == np.int32
    assert meta["fingerprint"] == Stage1(trained_stage1).fingerprint and meta["num_codes"] == 16


@pytest.mark.parametrize("form", FORMATS)
def test_and_decoded_to_the_tokenizers_images(form, exports, tokenizer, kept, trained_stage1, tmp_path, capsys):
    file = exports / form / FILES[form]
    decode(trained_stage1, file, tmp_path / "out")
    output = capsys.readouterr()
    assert output.out == f"in {tmp_path / 'out'}: images.npy (360), images.png\n" and "warning" not in output.err
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
    vqjax.Tokenizer.load(stage1).export_codes(tmp_path / "out", format="nanogpt")
    meta = read_json(tmp_path / "out" / "meta.json")
    assert {name: entry["count"] for name, entry in meta["splits"].items()} == {"train": 1293, "validation": 144}
    whole = Stage1(stage1).read(dataset_of(vqjax.load(stage1).config), "train").arrays["codes"]
    np.testing.assert_array_equal(read_exported(tmp_path / "out" / "val.bin", LAYOUT)[0].arrays["codes"], whole[1293:])


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i8", ">u2", "<u8"])
def test_codes_of_any_integer_type_and_any_grid(dtype, tokenizer, trained_stage1, tmp_path, monkeypatch):
    """Written part by part, 5 images at a time."""
    monkeypatch.setattr(decoding, "_ROWS", 5)
    array = np.random.default_rng(0).integers(0, 16, (21, 6, 5)).astype(dtype)
    np.save(tmp_path / "codes.npy", array)
    decode(trained_stage1, tmp_path / "codes.npy", tmp_path / "out")
    images = np.load(tmp_path / "out" / "images.npy")
    assert images.shape == (21, 12, 10, 1)
    np.testing.assert_allclose(images, 255 * tokenizer.decode(array), atol=0.501)


def test_samples_of_a_model_beside_the_export(exports, tmp_path):
    """As a GPT leaves them: not listed in meta.json, with their class tokens."""
    for name in ("meta.json", "val.bin"):
        (tmp_path / name).write_bytes((exports / "nanogpt" / name).read_bytes())
    drawn = np.concatenate([np.full((3, 1), 18), np.tile(np.arange(16), (3, 1))], 1).astype("<u2")
    drawn.tofile(tmp_path / "samples.bin")
    split, _ = read_exported(tmp_path / "samples.bin", LAYOUT)
    assert (
        split.arrays["label"].tolist() == [2, 2, 2]
        and split.arrays["codes"][1].tolist() == split.arrays["codes"][0].tolist()
    )
    drawn[1, 0] = 15
    drawn.tofile(tmp_path / "samples.bin")
    with pytest.raises(InputError, match="expected a class token, 16 to 25, before each image"):
        read_exported(tmp_path / "samples.bin", LAYOUT)
    drawn[:, :-1].tofile(tmp_path / "samples.bin")
    with pytest.raises(InputError, match="96 bytes: expected a multiple of 17 tokens of 2 bytes"):
        read_exported(tmp_path / "samples.bin", LAYOUT)
    with (tmp_path / "val.bin").open("r+b") as file:
        file.write(b"\x11")
    with pytest.raises(InputError, match="val.bin does not fit the checksum"):
        read_exported(tmp_path / "val.bin", LAYOUT)


def test_a_split_of_a_file_is_refused(tmp_path):
    """It was ignored."""
    np.save(tmp_path / "codes.npy", np.zeros((2, 4, 4), int))
    with pytest.raises(
        InputError, match="codes.npy: expected a directory of an export with --split=test, found a file"
    ):
        read_exported(tmp_path / "codes.npy", LAYOUT, "test")
    assert len(read_exported(tmp_path / "codes.npy", LAYOUT)[0]) == 2


def test_codes_of_another_tokenizer_are_told(exports, trained_stage1, tmp_path, capsys):
    for name in ("meta.json", FILES["numpy"]):
        (tmp_path / name).write_bytes((exports / "numpy" / name).read_bytes())
    rewrite(tmp_path / "meta.json", fingerprint="0" * 64)
    decode(trained_stage1, tmp_path / FILES["numpy"], tmp_path / "out")
    assert "warning: " in capsys.readouterr().err and (tmp_path / "out" / "images.npy").exists()


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
        decode(trained_stage1, tmp_path / "codes.npy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_code_out_of_range_at_the_end_of_a_long_file_is_found_before_anything_is_written(trained_stage1, tmp_path):
    array = np.zeros((10_000, 4, 4), np.uint8)
    array[-1, -1, -1] = 16
    np.save(tmp_path / "codes.npy", array)
    with pytest.raises(InputError, match="codes from 0 to 16: expected 0 to 15"):
        decode(trained_stage1, tmp_path / "codes.npy", tmp_path / "out")
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
        ("folder.npy", "expected a directory of `vqjax export codes`, found none"),
        ("codes.txt", "expected a file that ends in .npy, .npz, .bin, .parquet, or a directory of an export"),
    ):
        with pytest.raises(InputError, match=f"--codes: .*{name}.*{message}") as raised:
            decode(trained_stage1, tmp_path / name, tmp_path / "out")
        assert len(str(raised.value).splitlines()) <= 4
    assert not (tmp_path / "out").exists() and not (tmp_path / "executed").exists()
    with pytest.raises(InputError, match="--out=.* is in use: expected an empty directory or none"):
        decode(trained_stage1, exports / "numpy" / FILES["numpy"], tmp_path)


@pytest.mark.parametrize("meta", ['{"layout": "NHWC"}', '{"grid": "4x4"}', "[1]", "{", '{"levels": 3}'])
def test_the_meta_json_of_another_program_says_nothing(tmp_path, meta):
    np.save(tmp_path / "codes.npy", np.zeros((2, 4, 4), int))
    (tmp_path / "meta.json").write_text(meta)
    rows, description = read_exported(tmp_path / "codes.npy", LAYOUT)
    assert len(rows) == 2 and not description


def test_an_array_is_not_codes_of_several_levels(tmp_path):
    np.save(tmp_path / "test_codes_top.npy", np.zeros((2, 2, 2), int))
    levels = CodeLayout((Level("top", (2, 2), 8), Level("bottom", (4, 4), 8)))
    message = "test_codes_top.npy: expected arrays codes_top, codes_bottom, in a directory of an export, or as .npz"
    with pytest.raises(InputError, match=message):
        read_exported(tmp_path / "test_codes_top.npy", levels)


@pytest.mark.parametrize("form", FORMATS)
def test_a_directory_holds_one_format_of_one_stage1(form, exports, trained_stage1, tmp_path):
    """Into its own a format writes again; into those of others, and into that of another stage 1, it does not."""
    split = None if form == "nanogpt" else "test"
    before = {path: path.read_bytes() for path in exports.rglob("*") if path.is_file()}
    export_codes(trained_stage1, split, exports / form, form)
    for other in {*FORMATS} - {form}:
        with pytest.raises(InputError, match="--out=.*: expected codes of the same stage 1, in this format"):
            export_codes(trained_stage1, split, exports / other, form)
    assert {path: path.read_bytes() for path in exports.rglob("*") if path.is_file()} == before
    theirs = {**Stage1(trained_stage1).description, "fingerprint": "0" * 64}
    codes, label = {"codes": np.zeros((3, 4, 4), np.uint8)}, np.zeros(3, np.int32)
    FORMATS[form].write(tmp_path / "theirs", theirs, "test", [codes], label)
    with pytest.raises(InputError, match="--out=.*: expected codes of the same stage 1, in this format"):
        export_codes(trained_stage1, split, tmp_path / "theirs", form)


def test_nanogpt_has_no_split_to_choose(trained_stage1, tmp_path):
    with pytest.raises(InputError, match="--split=test: --format=nanogpt writes train, and validation or else test"):
        export_codes(trained_stage1, "test", tmp_path / "out", "nanogpt")


def test_all_splits_in_one_call(stage1, tmp_path):
    """It was one split a call."""
    recorded = read_json(stage1 / "config.json")
    rewrite(stage1 / "config.json", data={**recorded["data"], "validation": 0.1})
    for form in ("numpy", "parquet"):
        export_codes(stage1, "all", tmp_path / form, form)
    assert set(read_json(tmp_path / "numpy" / "meta.json")["splits"]) == {"train", "validation", "test"}
    counts = {name: len(np.load(tmp_path / "numpy" / f"{name}_codes.npy")) for name in ("train", "validation", "test")}
    assert counts == {"train": 1293, "validation": 144, "test": 360}
    assert {path.name: pq.read_metadata(path).num_rows for path in (tmp_path / "parquet").iterdir()} == {
        f"{name}.parquet": count for name, count in counts.items()
    }


def test_a_split_that_is_not_there_is_named(trained_stage1, tmp_path):
    with pytest.raises(InputError, match="^--split=validation: the run was trained with config.data.validation=0.0"):
        export_codes(trained_stage1, "validation", tmp_path / "out")
    with pytest.raises(InputError, match="--split: invalid choice: 'tset'"):
        export_codes(trained_stage1, "tset", tmp_path / "out")
    with pytest.raises(InputError, match="is where stage 1 keeps its own codes: expected another directory"):
        export_codes(trained_stage1, "test", trained_stage1 / "codes")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """A run on a folder of image files in two directories, and the folder."""
    root, rng = tmp_path_factory.mktemp("folder"), np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (root / "photos" / name).mkdir(parents=True)
        for number in range(30):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(root / "photos" / name / f"{number}.png")
    config = small_autoencoder()
    config.data.update({"name": "folder", "path": str(root / "photos"), "validation": 0.2})
    assert loop.train(config, root / "run") == 0
    return root


@pytest.mark.parametrize("form", ["numpy", "parquet"])
def test_each_row_says_which_image_it_is_of(folder_run, form, tmp_path):
    """Nothing said it. The codes of the file that is named are those of the row."""
    export_codes(folder_run / "run", "all", tmp_path, form)
    tokenizer, seen = vqjax.Tokenizer.load(folder_run / "run"), set()
    for name in ("train", "validation", "test"):
        file = tmp_path / f"{name}_codes.npy" if form == "numpy" else tmp_path / f"{name}.parquet"
        rows, _ = read_exported(file, tokenizer.layout)
        paths = npy.read_files(tmp_path, name) if form == "numpy" else parquet.read_files(file)
        assert len(paths) == len(rows) and not seen & {*paths}
        seen |= {*paths}
        codes = tokenizer.encode([folder_run / "photos" / path for path in paths])
        np.testing.assert_array_equal(rows.arrays["codes"], codes)
    assert len(seen) == 60


def test_a_directory_of_an_export_is_decoded(folder_run, tmp_path):
    for form in ("numpy", "parquet"):
        export_codes(folder_run / "run", "all", tmp_path / form, form)
        decode(folder_run / "run", tmp_path / form, tmp_path / f"{form}_images", "--split", "test")
        export_codes(folder_run / "run", "test", tmp_path / f"{form}_test", form)
        decode(folder_run / "run", tmp_path / f"{form}_test", tmp_path / f"{form}_alone")
    arrays = [np.load(path / "images.npy") for path in tmp_path.iterdir() if (path / "images.npy").exists()]
    assert len(arrays) == 4 and all(np.array_equal(array, arrays[0]) for array in arrays)
    message = r"^--codes: .*numpy: expected --split to name one of its splits, found train, validation, test"
    with pytest.raises(InputError, match=message):
        decode(folder_run / "run", tmp_path / "numpy", tmp_path / "out")
    with pytest.raises(InputError, match="^--codes: .*numpy_test: expected .*, found 'train' of test"):
        decode(folder_run / "run", tmp_path / "numpy_test", tmp_path / "out", "--split", "train")


@pytest.mark.parametrize("rows", [3, 4096])
def test_a_file_per_image(trained_stage1, tokenizer, tmp_path, monkeypatch, capsys, rows):
    monkeypatch.setattr(decoding, "_ROWS", rows)
    codes = np.random.default_rng(0).integers(0, 16, (7, 4, 4))
    np.savez(tmp_path / "codes.npz", codes=codes, other=np.zeros(3))
    decode(trained_stage1, tmp_path / "codes.npz", tmp_path / "out", "--format", "png", "--json")
    assert json.loads(capsys.readouterr().out) == {"images": 7, "written": [str(tmp_path / "out")]}
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{number:05}.png" for number in range(7)]
    images = np.stack([np.asarray(Image.open(tmp_path / "out" / name)) for name in names])[..., None]
    np.testing.assert_allclose(images, 255 * tokenizer.decode(codes), atol=0.501)


def test_an_archive_must_have_the_codes(trained_stage1, tmp_path):
    np.savez(tmp_path / "codes.npz", images=np.zeros((2, 8, 8, 1)))
    with pytest.raises(InputError, match="codes.npz: expected arrays codes, found images"):
        decode(trained_stage1, tmp_path / "codes.npz", tmp_path / "out")


def test_an_early_checkpoint_is_exported(trained_stage1, tmp_path):
    for step in (4, 6):
        words = ["--step", str(step), "--split", "test", "--out", str(tmp_path / str(step))]
        assert main(["export", "codes", str(trained_stage1), *words]) == 0
        tokenizer = vqjax.Tokenizer.load(trained_stage1, step)
        fingerprint = read_json(tmp_path / str(step) / "meta.json")["fingerprint"]
        assert fingerprint == tokenizer._stage1.fingerprint
    assert not np.array_equal(*(np.load(tmp_path / step / "test_codes.npy") for step in ("4", "6")))
