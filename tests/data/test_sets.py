"""Sets as they are distributed, as arrays, and of TFDS."""

import os
import shutil

import numpy as np
import pytest
from sets import (
    cifar,
    food101,
    mini_imagenet,
    mnist,
    opened,
    picture,
    svhn,
    tiny_imagenet,
    tiny_tfds,
)

from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.system.errors import InputError

REAL = os.environ.get("TFDS_DATA_DIR", "../shared/tfds")


def assert_reads(found, expected):
    """A set has the images and labels {split: (images, labels)}."""
    for name, (images, labels) in expected.items():
        split = found.read(name)
        np.testing.assert_array_equal(split.arrays["image"], images)
        np.testing.assert_array_equal(split.arrays["label"], labels)
        assert split.arrays["image"].dtype == np.uint8 and split.arrays["label"].dtype == np.int32
        assert found.sizes[name] == len(images) and found.shape == images.shape[1:]


# As they are distributed


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("name, last", [("mnist", "9"), ("fashion_mnist", "Ankle boot")])
def test_idx(tmp_path, name, last, suffix):
    expected = mnist(tmp_path, suffix)
    found = opened(name, path=tmp_path)
    assert_reads(found, expected)
    assert found.class_names[-1] == last and len(found.class_names) == 10


@pytest.mark.parametrize("packed", ["archive", "directory of it", "files"])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path, classes, packed):
    expected = cifar(tmp_path, classes, packed != "files")
    path = tmp_path / f"cifar-{classes}-binary.tar.gz" if packed == "archive" else tmp_path
    found = opened(f"cifar{classes}", path=path)
    assert_reads(found, expected)
    assert found.class_names == tuple(f"class {i}" for i in range(classes))


def test_svhn(tmp_path):
    expected = svhn(tmp_path)
    assert_reads(opened("svhn_cropped", path=tmp_path), expected)


def labels_of(found):
    """{path: label} of a set of files."""
    return {path: label for name in ("train", "test") for path, label in zip(found.files(name), found.labels(name))}


def test_tiny_imagenet(tmp_path):
    expected = tiny_imagenet(tmp_path)
    found = opened("tiny_imagenet", path=tmp_path)
    assert labels_of(found) == expected
    assert found.class_names == ("crane (n01000001)", "crane (n02000003)", "goldfish")
    assert found.sizes == {"train": 12, "test": 6} and found.shape == (64, 64, 3)
    assert found.read("train").arrays["image"].shape == (12, 64, 64, 3)


def test_mini_imagenet(tmp_path):
    """All classes in all splits, unless the split of the files is asked for."""
    expected = mini_imagenet(tmp_path)
    found = opened("mini_imagenet", path=tmp_path, size="32", test=0.3)
    assert len(found.class_names) == 7 and sum(found.sizes.values()) == 42 and found.shape == (32, 32, 3)
    train, test = ({*found.labels(name)} for name in ("train", "test"))
    assert len(train) == 7 and test & train
    assert all(found.class_names[label] in path for path, label in labels_of(found).items())
    as_they_are = opened("mini_imagenet", path=tmp_path, size="32", test=0.0)
    assert as_they_are.files("test") == sorted(expected["test"])
    assert as_they_are.num_validation(0.0) == 6 and as_they_are.sizes["train"] == 30


def test_food101(tmp_path):
    expected = food101(tmp_path / "food-101")
    with pytest.raises(InputError, match="images of 4 sizes, from 40 x 50 to 43 x 50 pixels"):
        opened("food101", path=tmp_path / "food-101")
    found = opened("food101", path=tmp_path / "food-101", size="32")
    assert found.class_names == ("apple_pie", "waffles")
    for name, lines in expected.items():
        labels = dict(zip(found.files(name), found.labels(name)))
        assert labels == {f"images/{x}.jpg": int("waff" in x) for x in lines}


@pytest.mark.parametrize(
    "make, name, file",
    [
        (mnist, "mnist", "t10k-labels-idx1-ubyte.gz"),
        (lambda root: cifar(root, 10, False), "cifar10", "test_batch.bin"),
        (lambda root: cifar(root, 100, True), "cifar100", "cifar-100-binary.tar.gz"),
        (svhn, "svhn_cropped", "test_32x32.mat"),
        (tiny_imagenet, "tiny_imagenet", "wnids.txt"),
        (mini_imagenet, "mini_imagenet", "val.csv"),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path, make, name, file):
    make(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) * 2 // 3] if file[-4:] != ".csv" else b"x\ny\n")
    with pytest.raises(InputError) as refused:
        opened(name, path=tmp_path)
    assert f"config.data.path='{tmp_path}'" in str(refused.value) and len(str(refused.value).splitlines()) <= 5
    (tmp_path / file).unlink()
    with pytest.raises(InputError) as refused:
        opened(name, path=tmp_path)
    assert f"config.data.path='{tmp_path}'" in str(refused.value)
    assert file in str(refused.value) or name == "cifar100"


# TFDS


@pytest.mark.parametrize("size", ["", "4"])
def test_any_set_of_tfds(tmp_path, size):
    images = tiny_tfds(tmp_path)
    found = opened("tfds/tiny", data_dir=str(tmp_path), size=size)
    assert found.class_names == ("cat", "dog", "eel") and found.sizes == {"train": 9, "test": 9}
    split = found.read("test")
    assert found.shape == ((6, 6, 3) if not size else (4, 4, 3)) == split.arrays["image"].shape[1:]
    assert sorted(split.arrays["label"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    if not size:
        known = {image.tobytes(): i % 3 for i, image in enumerate(images["test"])}
        assert [known[image.tobytes()] for image in split.arrays["image"]] == list(split.arrays["label"])


def test_validation_of_tfds(tmp_path):
    """At the end of train; it is test where there is no other, which is said."""
    images = tiny_tfds(tmp_path / "three", splits=("train", "validation", "test", "extra"))
    found = opened("tfds/tiny", data_dir=str(tmp_path / "three"))
    assert found.sizes == {"train": 18, "test": 9} and found.num_validation(0.0) == 9
    ends = {image.tobytes() for image in found.read("train").arrays["image"][9:]}
    assert ends == {image.tobytes() for image in images["validation"]}
    assert found.notes == ("splits that are not used: extra",) and found.files("train") is None
    tiny_tfds(tmp_path / "two", splits=("train", "validation"))
    found = opened("tfds/tiny", data_dir=str(tmp_path / "two"))
    assert found.sizes == {"train": 9, "test": 9} and found.num_validation(0.0) == 0
    assert found.notes == ("there is no test: validation serves as that",)
    tiny_tfds(tmp_path / "dev", splits=("train", "dev", "eval"))
    found = opened("tfds/tiny", data_dir=str(tmp_path / "dev"))
    assert found.sizes == {"train": 18, "test": 9} and found.num_validation(0.0) == 9
    assert found.notes == ("taken for splits: dev for validation, eval for test",)


def test_a_test_split_of_tfds_without_labels(tmp_path):
    """Labels as of ImageNet's test: -1. The set is of use to an autoencoder."""
    tiny_tfds(tmp_path, label=lambda split, i: -1 if split == "test" else i % 3)
    for memory in (4.0, 0.0):
        found = opened("tfds/tiny", data_dir=str(tmp_path), memory=memory)
        assert {*found.read("train").arrays["label"]} == {0, 1, 2} and {*found.read("test").arrays["label"]} == {-1}
        assert found.unlabeled == ("test",)
        with pytest.raises(InputError, match="'tfds/tiny': test has no labels, and config.task needs them"):
            found.require_labels()
        assert any(note.startswith("9 of 9 images of test without a label") for note in found.notes)


def test_what_tfds_has_not_is_refused(tmp_path):
    for number, (options, data, message) in enumerate(
        (
            ({"shape": (None, None, 3)}, {}, "has images of several sizes: expected --config.data.size"),
            ({"shape": (6, 6, 4)}, {}, "has images of 4 channels: expected config.data.channels=1 or 3"),
            ({"splits": ("train", "other")}, {}, "expected splits train and test or validation, found train, other"),
            ({"label": -1}, {}, "train has labels from -1 to -1, expected 0 to 2"),
        )
    ):
        root = tmp_path / str(number)
        tiny_tfds(root, **options)
        with pytest.raises(InputError, match=f"config.data.name='tfds/tiny'.*{message}"):
            opened("tfds/tiny", data_dir=str(root), **data).read("train")
    with pytest.raises(InputError, match="'tfds/teeny': TFDS has no such set, and none of that name lies in"):
        opened("tfds/teeny", data_dir=str(tmp_path))


def test_without_labels(tmp_path):
    tiny_tfds(tmp_path, labels=False)
    found = opened("tfds/tiny", data_dir=str(tmp_path))
    assert found.class_names == () and not found.read("train").arrays["label"].any()


OF_TFDS = ["mnist", "fashion_mnist", "svhn_cropped", "cifar10", "cifar100", "food101", "imagenet2012"]


@pytest.mark.parametrize(
    "name", [*OF_TFDS, "imagenet_resized", "tfds/oxford_flowers102", "tfds/imagenet_resized/32x32"]
)
def test_a_set_that_is_not_there_says_at_once_how_to_get_it(tmp_path, name):
    with pytest.raises(InputError) as error:
        opened(name, data_dir=str(tmp_path), size="32")
    message = str(error.value)
    assert f"config.data.name='{name}'" in message and str(tmp_path) in message and "TFDS_DATA_DIR" in message
    source = "imagenet_resized/32x32" if "resized" in name else name.removeprefix("tfds/")
    assert f"tfds build {source} " in message and "pip install tensorflow-cpu" in message
    assert len(message.splitlines()) <= 5 and not any(tmp_path.iterdir())


def test_with_tensorflow_a_missing_set_is_prepared(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(builder):
        raise OSError(f"no network for {builder.name}\nand a long story")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "tensorflow")
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"'mnist' could not be prepared in .*: no network for mnist$"):
        opened("mnist", data_dir=str(tmp_path))


def test_a_set_in_another_file_format_says_so(monkeypatch):
    import tensorflow_datasets as tfds

    def refuse(*_, **__):
        raise ValueError("File format is already set to FileFormat.TFRECORD")

    monkeypatch.setattr(tfds, "builder", refuse)
    with pytest.raises(InputError, match=r"'mnist': expected ArrayRecord in .*TFRECORD\nPrepare it in another"):
        opened("mnist")


@pytest.mark.parametrize("size", ["", "20"])
def test_a_truncated_set_is_refused(tmp_path, size):
    tiny_tfds(tmp_path)
    for path in tmp_path.rglob("*test.array_record*"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"config.data.name='tfds/tiny' in .* is damaged"):
        opened("tfds/tiny", data_dir=str(tmp_path), memory=0.0 if size else 4.0, size=size).read("test")


@pytest.mark.parametrize("name, count", [("mnist", 60_000), ("cifar10", 50_000)])
def test_real_sets(name, count):
    if not os.path.isdir(os.path.join(REAL, name)):
        pytest.skip(f"{name} is not prepared in {REAL}")
    found = opened(name, data_dir=REAL)
    assert found.sizes == {"train": count, "test": 10_000} and len(found.class_names) == 10
    test = found.read("test")
    assert test.arrays["image"].shape == (10_000, *found.shape)
    assert {*test.arrays["label"]} == {*range(10)}


# All of them


def test_an_unknown_set_is_named():
    with pytest.raises(InputError, match=r"config.data.name='cifar' is unknown. Did you mean"):
        opened("cifar")


def test_what_a_set_does_not_read_is_refused(tmp_path):
    for field, value in (("data_dir", "photos"), ("path", "photos"), ("size", "8"), ("channels", 1)):
        with pytest.raises(InputError, match=f"config.data.{field}=.*: expected none, config.data.name='digits'"):
            opened("digits", **{field: value})


def test_what_is_not_what_was_said_is_refused(small_config, monkeypatch):
    """Any set: the shape, the labels, and that there is something."""
    from conftest import fake

    for change, message in (
        (lambda image, label: (image[..., :1], label), "train has images of 8 x 8 x 1, uint8, expected 8 x 8 x 3"),
        (lambda image, label: (image / 255, label), "train has images of 8 x 8 x 3, float64, expected"),
        (lambda image, label: (image, label + 1), "train has labels from 1 to 3, expected 0 to 2"),
        (lambda image, label: (image[:0], label[:0]), "train is empty, expected images"),
    ):
        kind = fake((8, 8, 3), ("a", "b", "c"))

        class Changed(kind):
            def decode(self, name, change=change, kind=kind):
                image, label = change(*kind.decode(self, name).arrays.values())
                return Split(image=image, label=label)

        monkeypatch.setitem(datasets.DATASETS, "other", Changed)
        with pytest.raises(InputError, match=message):
            datasets.read_split(opened("other"), "train")


def test_a_set_that_was_replaced_is_read_again(tmp_path):
    np.savez(tmp_path / "mine.npz", image=picture(0, 60, 6, 6))
    before = opened("arrays", path=tmp_path / "mine.npz")
    shutil.move(tmp_path / "mine.npz", tmp_path / "other.npz")
    np.savez(tmp_path / "mine.npz", image=picture(1, 61, 6, 6))
    assert sum(opened("arrays", path=tmp_path / "mine.npz").sizes.values()) == 61 != sum(before.sizes.values())
