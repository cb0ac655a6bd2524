"""Whatever a user's directory or file holds: what is opened is what lies there, and what is said is plain text."""

import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sets import opened
from strategies import NAMES, SETTINGS, trees

from vqjax.codes import CodeLayout, Level
from vqjax.data import images
from vqjax.data.formats import nanogpt, npy, parquet
from vqjax.data.formats.paths import escape_path, read_paths, unescape_path
from vqjax.system.errors import InputError
from vqjax.system.text import printable


def write(root, files):
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def assert_plain(text):
    """One line that any terminal and any file can take."""
    assert text and text.encode("utf-8") and len(text.splitlines()) == 1
    assert not {unicodedata.category(character) for character in text} & {"Cc", "Cs", "Zl", "Zp"}


def check_opened(found, root, depth, paths):
    """Images, labels and paths are those that were written; each once."""
    files = {name: found.files(name) for name in ("train", "test")}
    assert sorted(files["train"] + files["test"]) == sorted(paths)
    channels = found.shape[-1]
    for name, listed in files.items():
        split = found.read(name).arrays
        assert len(listed) == found.sizes[name] == len(split["label"]) == len(split["image"])
        np.testing.assert_array_equal(split["label"], found.labels(name))
        for row, path in enumerate(listed):
            expected = images.decode_image(root / path, (8, 8), channels)
            np.testing.assert_array_equal(split["image"][row], expected)
            above = path.split("/")[:-1]
            assert not depth or found.class_names[split["label"][row]] == above[-1]
            assert depth < 2 or above[0] == name
    assert bool(found.class_names) == (depth > 0) and found.unlabeled == ()
    for note in found.notes:
        assert_plain(note)
    assert all(isinstance(name, str) and name for name in found.class_names)


@SETTINGS
@given(tree=trees())
def test_any_tree_of_images(tree):
    """Also streamed, and from what is kept of it."""
    depth, pictures, others = tree
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "photos"
        root.mkdir()
        write(root, {**others, **pictures})
        data = {"path": root, "size": "8", "test": 0.4}
        try:
            found = opened("folder", **data)
        except InputError as error:  # by chance, none of a few is for test
            assert "of which none is for" in str(error) and depth < 2
            return
        check_opened(found, root, depth, pictures)
        assert any("ignored, no images" in note for note in found.notes) == bool(others)
        again, streamed = opened("folder", **data), opened("folder", **data, memory=0.0)
        assert again is not found and again.notes == found.notes
        for name in ("train", "test"):
            assert again.files(name) == found.files(name) == streamed.files(name)
            for other in (again, streamed):
                np.testing.assert_array_equal(
                    np.asarray(other.read(name).arrays["image"]), found.read(name).arrays["image"]
                )


@SETTINGS
@given(tree=trees(), damage=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2)), min_size=1, max_size=3))
def test_any_damage_is_said_or_refused(tree, damage):
    """Files that are cut off, emptied or replaced by text: left out with a reason, or too many."""
    _, pictures, _ = tree
    paths, hurt = sorted(pictures), set()
    for number, kind in damage:
        path = paths[number % len(paths)]
        hurt.add(path)
        pictures[path] = {0: pictures[path][: len(pictures[path]) // 3], 1: b"", 2: b"no image"}[kind]
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "photos"
        write(root, pictures)
        try:
            found = opened("folder", path=root, size="8", test=0.4)
        except InputError as error:
            assert len(str(error).splitlines()) <= 5
            for line in str(error).splitlines():
                assert_plain(line)
            return
        files = {*found.files("train"), *found.files("test")}
        assert {*paths} - hurt <= files and {*found.bad} <= hurt
        for name in ("train", "test"):
            assert len(found.read(name)) == len(found.files(name))
        for note in found.notes:
            assert_plain(note)


@SETTINGS
@given(text=st.text(st.characters(exclude_categories=())))
def test_any_name_is_printable_and_any_path_reversible(text):
    shown = printable(text)
    assert not text or shown
    assert_plain(shown or "-")
    assert printable(shown) == shown
    path = os.fsdecode(text.encode("utf-8", "surrogatepass"))
    line = escape_path(path)
    assert unescape_path(line) == path and len(f"{line}.".splitlines()) == 1
    line.encode("utf-8")


# Arrays

TYPES = ["u1", "?", "i2", "<u4", "i8", "f2", ">f4", "f8"]


@SETTINGS
@given(
    dtype=st.sampled_from(TYPES),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    channels=st.sampled_from([(), (1,), (3,)]),
    labels=st.sampled_from([None, "i8", "f4", "U3", "S3", "?"]),
    low=st.sampled_from([0, 0, 0, -1, 250]),
    seed=st.integers(0, 99),
)
def test_any_arrays(dtype, shape, channels, labels, low, seed):
    """Taken as they are, or refused in two lines."""
    rng = np.random.default_rng(seed)
    shape = (12 * shape[0], *shape[1:], *channels)
    if np.dtype(dtype).kind == "f":
        levels = rng.integers(0, 256, shape)
        array = (levels / 255 + min(low, 1)).astype(dtype)
    else:
        array = (rng.integers(0, 2 if dtype == "?" else 256, shape) + (low if dtype != "u1" else 0)).astype(dtype)
        levels = array * 255 if dtype == "?" else array
    label = None if labels is None else rng.integers(0, 3, len(array)).astype(labels)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "mine.npz"
        np.savez(file, x=array, **({} if label is None else {"y": label}))
        try:
            found = opened("arrays", path=file, test=0.4)
        except InputError as error:
            assert len(str(error).splitlines()) <= 2
            return
        assert array.min() >= 0 and array.ndim in (3, 4)
        names = (
            [] if label is None else label.astype("U") if label.dtype.kind in "SU" else label.astype(int).astype("U")
        )
        for name in ("train", "test"):
            split, rows = found.read(name).arrays, np.array(found.files(name), int)
            np.testing.assert_array_equal(split["image"].reshape(levels[rows].shape), levels[rows])
            if label is not None:
                assert [found.class_names[x] for x in split["label"]] == [names[row] for row in rows]
        for note in found.notes:
            assert_plain(note)


# Codes

LEVELS = st.builds(
    Level,
    name=st.sampled_from(["top", "middle", "bottom"]),
    grid=st.one_of(st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(1, 3)] * 3)),
    num_codes=st.integers(1, 700),
    depth=st.integers(1, 3),
)


@pytest.mark.parametrize("module", [npy, nanogpt, parquet])
@SETTINGS
@given(
    levels=st.lists(LEVELS, min_size=1, max_size=3, unique_by=lambda level: level.name),
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    names=st.lists(NAMES, min_size=15, max_size=15),
)
def test_any_layout_in_any_format(module, levels, sizes, names):
    layout, count = CodeLayout(tuple(levels)), sum(sizes)
    assume(count)
    rng = np.random.default_rng(count)
    codes = {
        name: rng.integers(0, level.num_codes, (count, *level.shape)).astype(level.dtype)
        for name, level in layout.names.items()
    }
    label = rng.integers(0, 2, count).astype(np.int32)
    about = {"layout": layout, "order": "raster", "dataset": "x", "class_names": ["a", "b"], "fingerprint": "f"}
    ends = np.cumsum([0, *sizes])
    parts = ({name: array[a:b] for name, array in codes.items()} for a, b in zip(ends, ends[1:]))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        module.write_codes(root, about, "train", parts, label, None, names[:count])
        if module is npy:
            (split, meta), files = npy.read_codes(root, "f", "train"), npy.read_files(root, "train")
        elif module is nanogpt:
            (split, meta), files = nanogpt.read_codes(root / "train.bin"), read_paths(root / "train_files.txt")
        else:
            file = root / "train.parquet"
            (split, meta), files = parquet.read_codes(file), parquet.read_files(file)
        for name, array in codes.items():
            np.testing.assert_array_equal(split.arrays[name], array)
        np.testing.assert_array_equal(split.arrays["label"], label)
        assert files == names[:count]
        assert meta["layout"] == layout or layout.single and meta["layout"].single.grid == levels[0].grid
