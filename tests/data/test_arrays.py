"""One's own arrays: what is taken, as what, and what is refused with a hint."""

import os
import zipfile

import numpy as np
import pytest
from sets import opened, picture

from vqjax.system.errors import InputError


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.npz"


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_arrays(tmp_path, suffix):
    images, labels = picture(0, 100, 6, 5), np.arange(100) % 4
    file = tmp_path / f"mine{suffix}"
    if suffix == ".npz":
        np.savez_compressed(file, images=images, label=labels)
    else:
        np.save(file, images)
    found = opened("arrays", path=file, test=0.2)
    assert found.shape == (6, 5, 1) and sum(found.sizes.values()) == 100 and 10 <= found.sizes["test"] <= 30
    assert found.class_names == (("0", "1", "2", "3") if suffix == ".npz" else ()) and found.notes == ()
    for name in ("train", "test"):
        split, rows = found.read(name), np.array(found.files(name), int)
        np.testing.assert_array_equal(split.arrays["image"][..., 0], images[rows])
        np.testing.assert_array_equal(split.arrays["label"], labels[rows] if suffix == ".npz" else 0 * rows)
    longer = save(tmp_path / "longer.npz", image=np.concatenate([images, images[:9]]))
    more = opened("arrays", path=longer, test=0.2)
    for name in ("train", "test"):  # a new image moves no other
        assert {*found.files(name)} <= {*more.files(name)}
    assert opened("arrays", path=file, size="4").read("train").arrays["image"].shape[1:] == (4, 4, 1)


@pytest.mark.parametrize("name", ["arrays", "folder"])
def test_the_ending_chooses_the_reader(file, name):
    save(file, image=picture(0, 40, 6, 5))
    assert opened(name, path=file).shape == (6, 5, 1)


LEVELS = picture(0, 40, 6, 5)
PIXELS = {  # what `Tokenizer.encode` takes, and what is as clear -> the levels, and what is said of it
    "uint8": (LEVELS, LEVELS, ""),
    "float32": ((LEVELS / 255).astype(np.float32), LEVELS, "pixels are floats"),
    "float64 between the levels": (LEVELS / 256, np.round(LEVELS / 256 * 255), "pixels are floats"),
    "float16": ((LEVELS / 255).astype(np.float16), LEVELS, "pixels are floats"),
    "big endian": ((LEVELS / 255).astype(">f4"), LEVELS, "pixels are floats"),
    "int64": (LEVELS.astype(np.int64), LEVELS, ""),
    "bool": (LEVELS > 99, 255 * (LEVELS > 99), "pixels are booleans"),
    "0 and 1": (LEVELS // 128, LEVELS // 128, "no pixel is above level 1 of 255"),
}


@pytest.mark.parametrize("kind", PIXELS)
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_pixels_of_any_type(tmp_path, suffix, kind):
    array, levels, note = PIXELS[kind]
    path = tmp_path / f"mine{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, images=array)
    found = opened("arrays", path=path)
    for name in ("train", "test"):
        image = found.read(name).arrays["image"]
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image[..., 0], levels[np.array(found.files(name), int)])
    assert len(found.notes) == bool(note) and all(line.startswith(note) for line in found.notes)


@pytest.mark.parametrize(
    "train, test",
    [("x_train y_train", "x_test y_test"), ("train_images train_labels", "test_images test_labels")],
)
@pytest.mark.parametrize("validation", ["", "x_val y_val", "valid_images valid_labels"])
def test_arrays_of_splits(file, train, test, validation):
    """Arrays as of Keras and of MedMNIST, whose labels are (N, 1); the splits are used as they are."""
    counts = {part: 20 + 3 * i for i, part in enumerate(filter(None, (train, validation, test)))}
    arrays = {}
    for seed, (part, count) in enumerate(counts.items()):
        image, label = part.split()
        arrays |= {image: picture(seed, count, 6, 5), label: (np.arange(count) % 3)[:, None].astype(np.uint8)}
    save(file, **arrays)
    found = opened("arrays", path=file, validation=0.2, test=0.5)
    held = counts.get(validation, 0)
    assert found.sizes == {"train": counts[train] + held, "test": counts[test]} and found.class_names == ("0", "1", "2")
    assert found.num_validation(0.2) == held if validation else 0 < found.num_validation(0.2) < 15
    for name in ("train", "test"):
        split = found.read(name).arrays
        for row, path in enumerate(found.files(name)):
            key, number = path.split("/")
            np.testing.assert_array_equal(split["image"][row, ..., 0], arrays[key][int(number)])
            assert split["label"][row] == int(number) % 3
    assert {path.split("/")[0] for path in found.files("test")} == {test.split()[0]} and found.notes == ()


def test_train_alone_is_divided_and_validation_serves_as_test(file):
    save(file, x_train=picture(0, 60, 6, 5), y_train=np.arange(60) % 2)
    assert 0 < opened("arrays", path=file, test=0.3).sizes["test"] < 30
    save(file, x_train=picture(0, 60, 6, 5), x_val=picture(1, 9, 6, 5))
    found = opened("arrays", path=file)
    assert found.sizes == {"train": 69, "test": 9} and found.num_validation(0.0) == 9
    assert found.notes == ("there is no test: validation serves as that",)


def test_names_as_labels(file):
    names = np.array(["dog", "ant", "\N{SNOWMAN}$<"])[np.arange(40) % 3]
    for label in (names, names[:, None], np.char.encode(names, "utf-8")):
        save(file, image=LEVELS, label=label)
        found = opened("arrays", path=file)
        assert found.class_names == ("ant", "dog", "\N{SNOWMAN}$<")
        for name in ("train", "test"):
            rows = np.array(found.files(name), int)
            assert [found.class_names[x] for x in found.read(name).arrays["label"]] == [*names[rows]]
    save(file, x_train=LEVELS, y_train=names, x_test=LEVELS[:3], y_test=np.array(["eel", "ant", "ant"]))
    found = opened("arrays", path=file)
    assert found.class_names == ("ant", "dog", "eel", "\N{SNOWMAN}$<") and {*found.read("test").arrays["label"]} == {
        0,
        2,
    }


@pytest.mark.parametrize(
    "labels, notes",
    [
        (np.arange(40) % 4 + 1, ["labels from 1 to 4, 4 of them used: 5 classes", "1 of 5 classes has no image: 0"]),
        (
            np.array([0, 5, 1000])[np.arange(40) % 3],
            ["labels from 0 to 1000, 3 of them used: 1,001 classes", "998 of 1,001 classes have no image: 1, 2, 3, …"],
        ),
        ((np.arange(40) % 4).astype(float), []),
        (np.arange(40) % 2 == 1, []),
    ],
)
def test_what_labels_leave_open_is_said(file, labels, notes):
    save(file, image=LEVELS, label=labels)
    found = opened("arrays", path=file)
    assert len(found.class_names) == int(labels.max()) + 1
    assert len(found.notes) == len(notes) and all(line.startswith(note) for line, note in zip(found.notes, notes))


def test_classes_that_train_lacks_are_said(file):
    save(file, x_train=LEVELS, y_train=np.arange(40) % 2, x_test=LEVELS[:4], y_test=np.array([0, 1, 2, 3]))
    assert opened("arrays", path=file).notes == (
        "2 of 4 classes have images in validation or test, but none in train: 2, 3",
    )


def test_a_split_without_labels(file):
    save(file, x_train=LEVELS, y_train=np.arange(40) % 2, x_test=LEVELS[:4])
    found = opened("arrays", path=file)
    assert found.class_names == ("0", "1") and {*found.read("test").arrays["label"]} == {-1}
    assert found.unlabeled == ("test",) and "4 of 4 images of test without a label" in found.notes[0]
    with pytest.raises(InputError, match="test has no labels"):
        found.require_labels()
    save(file, x_train=LEVELS, x_test=LEVELS[:4], y_test=np.arange(4))
    found = opened("arrays", path=file)
    assert found.class_names == () and found.notes == ("labels of test, but none for training: not used",)
    found.require_labels()


def test_what_is_taken_for_images_and_what_is_not_read_is_said(file):
    np.savez(file, LEVELS)
    assert opened("arrays", path=file).notes == ("arr_0 taken for the images",)
    save(file, faces=LEVELS)
    assert opened("arrays", path=file).notes == ("faces taken for the images",)
    save(file, image=LEVELS, images=LEVELS, episode=np.arange(40))
    assert opened("arrays", path=file).notes == ("2 arrays of the file not read: images, episode",)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("executed",)


REFUSED = {
    "pickle": ({"image": np.array([Hostile()] * 20)}, "cannot be read: Object arrays cannot be loaded"),
    "none": ({"a": LEVELS, "b": LEVELS}, "expected an array `image` or `images`, found a, b"),
    "one color image": ({"image": picture(0, 64, 64)}, r"uint8 \(64, 64, 3\); one image\? images\[None\]"),
    "one RGBA image": ({"image": picture(0, 64, 64, 4)}, r"uint8 \(64, 64, 4\); one image\? images\[None\]"),
    "one gray image": ({"image": LEVELS[0]}, r"uint8 \(6, 5\); one image\? images\[None\]"),
    "channels first": (
        {"image": np.zeros((20, 3, 72, 2), np.uint8)},
        r"\(20, 3, 72, 2\); looks like",
    ),
    "channels first, floats": (
        {"image": np.zeros((20, 1, 28, 28))},
        r"looks like \(N, C, H, W\): transpose, images.tr",
    ),
    "clips": (
        {"image": np.zeros((2, 4, 8, 8, 3), np.uint8)},
        "clips\\? --config.data.name=clips --config.data.frames=T",
    ),
    "4 channels": (
        {"image": np.zeros((20, 8, 8, 4), np.uint8)},
        r"C 1 or 3, uint8 or floats .* found uint8 \(20, 8, 8, 4\)",
    ),
    "complex": ({"image": LEVELS * 1j}, "found complex128"),
    "text": ({"image": np.array(["a"] * 20)}, "found <U1"),
    "empty": ({"image": LEVELS[:0]}, r"found uint8 \(0, 6, 5\)"),
    "NaN": (
        {"image": np.where(np.arange(40)[:, None, None] == 3, np.nan, LEVELS / 255)},
        "NaN in image 3, expected uint8",
    ),
    "signed floats": ({"image": LEVELS / 127.5 - 1}, "values from -.* in image .*, expected uint8, or floats in"),
    "levels as floats": (
        {"image": LEVELS.astype(float)},
        "values from .* to 2.. in image .*, expected uint8, or floats",
    ),
    "16 bits": ({"image": LEVELS.astype(np.uint16) * 257}, "to 6.* in image .*, expected uint8"),
    "few": (
        {"image": LEVELS, "label": np.arange(39)},
        r"expected 40 labels that are integers or names, found int64 \(39,\)",
    ),
    "one-hot": ({"image": LEVELS, "label": np.eye(40)}, r"found float64 \(40, 40\); one-hot\? labels.argmax\(1\)"),
    "halves": ({"image": LEVELS, "label": np.arange(40) / 2}, "expected 40 labels that are integers or names"),
    "below": ({"image": LEVELS, "label": np.arange(40) - 1}, "labels from -1 to 38, expected at least 0"),
    "above": ({"image": LEVELS, "label": np.arange(40) * 9999}, "expected at least 0 and less than 65536"),
    "test alone": ({"x_test": LEVELS}, "found x_test, but no images for training, such as x_train"),
    "two shapes": ({"x_train": LEVELS, "x_test": LEVELS[:, :4]}, "expected images of one shape, found"),
    "names and numbers": (
        {"x_train": LEVELS, "y_train": np.arange(40), "x_test": LEVELS[:1], "y_test": np.array(["a"])},
        "expected labels that are all integers or all names",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arrays_that_are_none_are_refused(file, monkeypatch, name):
    monkeypatch.chdir(file.parent)
    arrays, message = REFUSED[name]
    save(file, **arrays)
    for kind in ("arrays", "folder"):
        with pytest.raises(InputError, match=message) as refused:
            opened(kind, path=file)
        assert "mine.npz'" in str(refused.value) and len(str(refused.value).splitlines()) <= 2
    assert not os.path.exists("executed")


def test_files_that_are_none_are_refused(tmp_path):
    with open(tmp_path / "claims.npy", "wb") as stream:  # a header that claims more than there is
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 8, 8, 3)}
        )
    (tmp_path / "bytes.npz").write_bytes(b"PK")
    (tmp_path / "empty.npz").touch()
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.writestr("image", b"no array")
    for name, message in (
        ("claims.npy", "claims.npy' cannot be read"),
        ("bytes.npz", "bytes.npz' cannot be read"),
        ("empty.npz", "empty.npz' cannot be read"),
        ("member.npz", "image is no array"),
        ("", "a directory, expected an .npz or .npy file"),
    ):
        with pytest.raises(InputError, match=message):
            opened("arrays", path=tmp_path / name)
