"""Codes of any layout on disk: each format gives back what it was given, and refuses what is damaged or hostile."""

import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqjax.codes import CodeLayout, Level, single_level
from vqjax.data.formats import nanogpt, npy, parquet
from vqjax.data.formats.paths import escape_path, read_paths, unescape_path, write_paths
from vqjax.data.formats.tokens import codebook_offsets, from_tokens, num_tokens, to_tokens
from vqjax.system.errors import InputError
from vqjax.system.files import read_json

LAYOUTS = {
    "image": single_level((2, 3), 16),
    "clip": single_level((4, 2, 3), 300),
    "residual": single_level((2, 3), 16, depth=3),
    "levels": CodeLayout((Level("top", (1, 2), 300), Level("bottom", (2, 4), 16, 2))),
}
MODULES = {"npy": npy, "nanogpt": nanogpt, "parquet": parquet}
NAMES = ["a/1.png", "a/\N{SNOWMAN}\\x41.png", "b/line\nbreak\r\x85\u2028.png", "b/\udcff\udc80.png", "$<&>\x1b[31m"]


def description(layout, class_names=("a", "b", "c")):
    rest = {"order": "raster", "dataset": "made up", "class_names": list(class_names), "fingerprint": "f" * 64}
    return {"layout": layout, **rest}


def random_codes(layout, count, seed=0, classes=3):
    """{name of the layout: codes of `count` images} and their labels."""
    rng = np.random.default_rng(seed)
    codes = {
        name: rng.integers(0, level.num_codes, (count, *level.shape)).astype(level.dtype)
        for name, level in layout.names.items()
    }
    return codes, rng.integers(0, classes, count).astype(np.int32)


def in_parts(codes, *sizes):
    """The rows of arrays in parts of these sizes, and one of the rest."""
    count, start = len(next(iter(codes.values()))), 0
    for size in (*sizes, count - sum(sizes)):
        yield {name: array[start : start + size] for name, array in codes.items()}
        start += size


def read_back(form, directory, name):
    """The split, its description and its paths."""
    if form == "npy":
        return *npy.read_codes(directory, "f" * 64, name), npy.read_files(directory, name)
    if form == "nanogpt":
        split, meta = nanogpt.read_codes(directory / ("train.bin" if name == "train" else "val.bin"))
        file = directory / f"{name}_files.txt"
        return split, meta, read_paths(file) if file.exists() else None
    file = directory / f"{name}.parquet"
    return *parquet.read_codes(file), parquet.read_files(file)


@pytest.mark.parametrize("with_files", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", MODULES)
def test_every_format_gives_back_every_layout(tmp_path, form, layout, with_files):
    layout = LAYOUTS[layout]
    expected = {name: random_codes(layout, count, count) for name, count in (("train", 23), ("test", 5))}
    for name, (codes, label) in expected.items():
        files = [NAMES[i % 5] for i in range(len(label))] if with_files else None
        MODULES[form].write_codes(
            tmp_path, description(layout), name, in_parts(codes, 1, len(label) // 2), label, "hash", files
        )
    for name, (codes, label) in expected.items():
        split, meta, files = read_back(form, tmp_path, name)
        assert split.arrays.keys() == {*codes, "label"}
        for array, values in codes.items():
            np.testing.assert_array_equal(split.arrays[array], values)
            assert split.arrays[array].dtype == values.dtype or form == "nanogpt" and layout.single
        np.testing.assert_array_equal(split.arrays["label"], label)
        assert split.arrays["label"].dtype == np.int32
        assert meta["layout"] == layout and meta["fingerprint"] == "f" * 64 and meta["class_names"] == ["a", "b", "c"]
        assert files == ([NAMES[i % 5] for i in range(len(label))] if with_files else None)
    assert MODULES[form].read_fingerprint(tmp_path) == "f" * 64 or form == "nanogpt" and with_files


def test_a_single_level_is_written_as_it_always_was(tmp_path):
    """The files of one level of depth 1, to the byte."""
    layout, label = single_level((2, 3), 16), np.array([2], np.int32)
    codes = {"codes": np.array([[[0, 1, 2], [3, 4, 15]]], np.uint8)}
    for module in MODULES.values():
        module.write_codes(tmp_path / module.__name__, description(layout), "train", [codes], label)
    directory = tmp_path / npy.__name__
    assert sorted(path.name for path in directory.iterdir()) == ["meta.json", "train_codes.npy", "train_labels.npy"]
    np.save(tmp_path / "codes.npy", codes["codes"])
    assert (directory / "train_codes.npy").read_bytes() == (tmp_path / "codes.npy").read_bytes()
    meta = read_json(directory / "meta.json")
    about = ["num_codes", "grid", "order", "dataset", "class_names", "fingerprint"]
    assert [*meta] == ["format", *about, "splits"] and meta["grid"] == [2, 3] and meta["num_codes"] == 16
    assert [*meta["splits"]["train"]] == ["count", "dtype", "data", "codes", "label"]
    assert meta["splits"]["train"]["dtype"] == "uint8" and [*meta["splits"]["train"]["codes"]] == ["file", "sha256"]
    assert np.fromfile(tmp_path / nanogpt.__name__ / "train.bin", "<u2").tolist() == [18, 0, 1, 2, 3, 4, 15]
    meta = read_json(tmp_path / nanogpt.__name__ / "meta.json")
    own = ["num_classes", "vocab_size", "tokens_per_image", "splits", "back"]
    assert [*meta] == ["format", *about, *own] and meta["vocab_size"] == 19 and meta["tokens_per_image"] == 7
    table = pq.read_table(tmp_path / parquet.__name__ / "train.parquet")
    assert table.schema.types == [pa.list_(pa.field("item", pa.uint8(), nullable=False), 6), pa.int32()]
    assert [*json.loads(table.schema.metadata[b"vqjax"])] == [*about, "count"]


def test_files_of_several_levels(tmp_path):
    layout = LAYOUTS["levels"]
    codes, label = random_codes(layout, 7)
    npy.write_codes(tmp_path, description(layout), "train", [codes], label, files=NAMES[:1] * 7)
    names = ["meta.json", "train_codes_bottom.npy", "train_codes_top.npy", "train_files.txt", "train_labels.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert np.load(tmp_path / "train_codes_top.npy").dtype == np.uint16
    assert np.load(tmp_path / "train_codes_bottom.npy").shape == (7, 2, 4, 2)
    meta = read_json(tmp_path / "meta.json")
    assert meta["levels"] == layout.to_json() and "num_codes" not in meta and "grid" not in meta


def test_each_codebook_has_tokens_of_its_own(tmp_path):
    """Worked by hand: level after level, the depths of a position side by side."""
    layout = CodeLayout((Level("top", (1, 1), 4), Level("bottom", (1, 2), 3, 2)))
    assert codebook_offsets(layout) == {"top": [0], "bottom": [4, 7]} and num_tokens(layout) == 10
    codes = {"codes_top": np.array([[[3]]], np.uint8), "codes_bottom": np.array([[[[0, 1], [2, 0]]]], np.uint8)}
    assert to_tokens(layout, codes).tolist() == [[3, 4, 8, 6, 7]]
    for name, array in from_tokens(layout, np.array([[3, 4, 8, 6, 7]])).items():
        np.testing.assert_array_equal(array, codes[name])
    with pytest.raises(ValueError, match="code 2 of an image is from 6 to 6, expected 7 to 9"):
        from_tokens(layout, np.array([[3, 4, 6, 6, 7]]))
    nanogpt.write_codes(tmp_path, description(layout), "train", [codes], np.array([2], np.int32))
    assert np.fromfile(tmp_path / "train.bin", "<u2").tolist() == [12, 3, 4, 8, 6, 7]
    meta = read_json(tmp_path / "meta.json")
    assert meta["offsets"] == {"top": [0], "bottom": [4, 7]} and meta["first_class_token"] == 10
    assert meta["vocab_size"] == 13 and meta["tokens_per_image"] == 6
    parquet.write_codes(tmp_path, description(layout), "train", [codes], np.array([2], np.int32), files=["\udcff"])
    table = pq.read_table(tmp_path / "train.parquet")
    assert table.to_pylist() == [{"codes": [3, 4, 8, 6, 7], "label": 2, "file": "\\xff"}]
    assert json.loads(table.schema.metadata[b"vqjax"])["offsets"] == {"top": [0], "bottom": [4, 7]}


@pytest.mark.parametrize("classes", [0, 1, 3])
def test_the_tokens_must_fit_in_16_bits(classes, tmp_path):
    most, names = (1 << 16) - max(1, classes), ["a", "b", "c"][:classes]
    codes, label = random_codes(layout := single_level((2, 3), most), 5, 0, max(1, classes))
    nanogpt.write_codes(tmp_path / "out", description(layout, names), "train", [codes], label)
    np.testing.assert_array_equal(nanogpt.read_codes(tmp_path / "out" / "train.bin")[0].arrays["codes"], codes["codes"])
    more = description(single_level((2, 3), most + 1), names)
    with pytest.raises(InputError, match=r"--format=nanogpt: 65,53\d codes .* 65,537 tokens, expected at most 65,536"):
        nanogpt.write_codes(tmp_path / "more", more, "train", [codes], label)
    assert not (tmp_path / "more").exists()


def test_an_image_without_a_label_has_no_token(tmp_path):
    codes, _ = random_codes(LAYOUTS["image"], 2)
    label = np.array([1, -1], np.int32)
    with pytest.raises(InputError, match="--format=nanogpt: some images of test have no label"):
        nanogpt.write_codes(tmp_path, description(LAYOUTS["image"]), "test", [codes], label)
    for module in (npy, parquet):
        module.write_codes(tmp_path, description(LAYOUTS["image"]), "test", [codes], label)
    np.testing.assert_array_equal(np.load(tmp_path / "test_labels.npy"), label)
    assert pq.read_table(tmp_path / "test.parquet")["label"].to_pylist() == [1, -1]


def test_files_do_not_depend_on_their_parts(tmp_path):
    codes, label = random_codes(LAYOUTS["image"], 40_000)
    for form, module in MODULES.items():
        for name, sizes in (("one", ()), ("many", (1, 16_383, 20_000))):
            parts = in_parts(codes, *sizes)
            module.write_codes(tmp_path / form / name, description(LAYOUTS["image"]), "train", parts, label)
        for path in (tmp_path / form / "one").iterdir():
            assert path.read_bytes() == (tmp_path / form / "many" / path.name).read_bytes()
    assert pq.ParquetFile(tmp_path / "parquet" / "one" / "train.parquet").num_row_groups == 3


@pytest.mark.parametrize("form", MODULES)
def test_what_is_not_of_the_layout_is_not_written(tmp_path, form):
    """Nor is anything left behind of what was."""
    codes, label = random_codes(LAYOUTS["image"], 6)
    array = codes["codes"]
    for parts, message in (
        ([{"codes": array[:3]}, {"codes": array[3:, :1]}], "expected integers"),
        ([{"codes": array[:3]}, {"codes": array}], "rows or more, expected 6"),
        ([{"codes": array[:3]}], "3 rows, expected 6"),
        ([{"codes": array + np.uint8(16)}], "expected 0 to 15"),
        ([{"codes": array.astype(int) - 16}], "expected 0 to 15"),
        ([{"codes": array / 2}], "expected integers"),
        ([{"other": array}], "arrays other: expected codes"),
    ):
        with pytest.raises(ValueError, match=message):
            MODULES[form].write_codes(tmp_path, description(LAYOUTS["image"]), "train", parts, label)
        assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        MODULES[form].write_codes(
            tmp_path, description(LAYOUTS["image"]), "train", [codes], label * 0 + [0, 0, 0, 0, 0, 3]
        )


@pytest.mark.parametrize("form", MODULES)
def test_a_file_appears_whole_or_not_at_all(tmp_path, form):
    """A disk that is full after the first part."""
    codes, label = random_codes(LAYOUTS["image"], 6)

    def failing():
        yield {"codes": codes["codes"][:3]}
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        MODULES[form].write_codes(tmp_path, description(LAYOUTS["image"]), "train", failing(), label)
    assert not any(tmp_path.iterdir())


def test_rows_that_would_make_a_corrupt_file_are_refused(tmp_path):
    """Other shapes of the same size, too many, too few, and values that would wrap around."""
    rows = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    npy.save_rows(tmp_path / "whole.npy", np.dtype(np.uint8), (4, 2, 3), [rows, rows.astype(np.int64)])
    np.testing.assert_array_equal(np.load(tmp_path / "whole.npy"), np.concatenate([rows, rows]))
    for parts, message in (
        ([rows, rows.reshape(2, 3, 2)], "rows of shape"),
        ([rows, rows.reshape(2, 6)], "rows of shape"),
        ([rows, rows, rows], "rows or more, expected 4"),
        ([rows], "2 rows, expected 4"),
        ([rows, rows.astype(np.int64) + 250], "cannot hold"),
        ([rows, rows + 0.5], "cannot hold"),
    ):
        with pytest.raises(ValueError, match=message):
            npy.save_rows(tmp_path / "rows.npy", np.dtype(np.uint8), (4, 2, 3), parts)


@pytest.mark.parametrize("num_codes, dtype", [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65_537, "uint32")])
def test_codes_are_in_the_smallest_type(tmp_path, num_codes, dtype):
    """Parts come of any integer type; splits stand side by side, and one that fails leaves the other as it was."""
    about = description(single_level((2, 3), num_codes))
    for name, count in (("train", 7), ("test", 3)):
        codes, label = random_codes(about["layout"], count)
        npy.write_codes(tmp_path, about, name, in_parts({"codes": codes["codes"].astype(np.int32)}, 1, 0), label)
        assert np.load(tmp_path / f"{name}_codes.npy").dtype == dtype
    with pytest.raises(ValueError, match="2 rows, expected 3"):
        npy.write_codes(tmp_path, about, "test", [{"codes": codes["codes"][:2]}], label)
    np.testing.assert_array_equal(npy.read_codes(tmp_path, None, "test")[0].arrays["codes"], codes["codes"])
    splits = read_json(tmp_path / "meta.json")["splits"]
    assert {name: (entry["count"], entry["dtype"]) for name, entry in splits.items()} == {
        "train": (7, dtype),
        "test": (3, dtype),
    }


@pytest.mark.parametrize("num_codes, kind", [(16, pa.uint8()), (257, pa.uint16()), (65_537, pa.uint32())])
def test_parquet_has_types_of_its_own(num_codes, kind, tmp_path):
    codes, label = random_codes(layout := single_level((2, 3), num_codes), 9)
    parquet.write_codes(tmp_path, description(layout), "train", [codes], label)
    table = pq.read_table(tmp_path / "train.parquet")
    assert table.schema.types == [pa.list_(pa.field("item", kind, nullable=False), 6), pa.int32()]
    assert table["codes"].to_pylist() == codes["codes"].reshape(9, 6).tolist()
    assert table["label"].to_pylist() == label.tolist()


def test_parquet_of_another_program(tmp_path):
    """Its lists have no length in their type, and it has dropped what it does not know."""
    codes, _ = random_codes(layout := single_level((2, 3), 16), 9)
    pq.write_table(pa.table({"codes": codes["codes"].reshape(9, 6).tolist()}), tmp_path / "a.parquet")
    split, meta = parquet.read_codes(tmp_path / "a.parquet", layout)
    np.testing.assert_array_equal(split.arrays["codes"], codes["codes"])
    assert meta == {} and "label" not in split.arrays and parquet.read_files(tmp_path / "a.parquet") is None
    with pytest.raises(InputError, match="it does not say of which grid"):
        parquet.read_codes(tmp_path / "a.parquet")
    for lists in ([[1] * 6, [1] * 5, [1] * 7], [[1] * 6, None], [[1] * 5 + [None]], [[0.5] * 6], [[-1] * 6], []):
        pq.write_table(
            pa.table({"codes": pa.array(lists, pa.list_(pa.infer_type(lists or [[1]]).value_type))}),
            tmp_path / "b.parquet",
        )
        with pytest.raises(InputError, match=r"b.parquet: expected") as refused:
            parquet.read_codes(tmp_path / "b.parquet", layout)
        assert len(str(refused.value).splitlines()) == 1


def test_codes_of_another_stage_1_are_forgotten(tmp_path):
    codes, label = random_codes(layout := LAYOUTS["image"], 4)
    for module in (npy, nanogpt):
        directory = tmp_path / module.__name__
        for name in ("train", "test"):
            module.write_codes(directory, description(layout), name, [codes], label)
        module.write_codes(directory, {**description(layout), "fingerprint": "0" * 64}, "test", [codes], label)
        assert [*read_json(directory / "meta.json")["splits"]] == ["test"]
        assert module.read_fingerprint(directory) == "0" * 64
    assert npy.read_codes(tmp_path / npy.__name__, "f" * 64, "test") is None
    assert npy.read_codes(tmp_path / npy.__name__, None, "train") is None
    assert npy.read_codes(tmp_path / npy.__name__, None, "test", "another hash") is None


def test_paths_are_lines_of_text_and_reversible(tmp_path):
    assert escape_path("a\\b\n\udcff é") == "a\\\\b\\x0a\\xff é" and unescape_path("a\\\\x41\\x0a") == "a\\x41\n"
    write_paths(tmp_path / "files.txt", NAMES)
    assert len((tmp_path / "files.txt").read_text("utf-8").splitlines()) == len(NAMES)
    assert read_paths(tmp_path / "files.txt") == NAMES


# Damage


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
