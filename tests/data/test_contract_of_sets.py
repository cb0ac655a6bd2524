"""Contract of every set of the table, in small sets on disk as their authors distribute them."""

import numpy as np
import pytest
import sets
from PIL import Image

from vqjax.config.schema import Settings
from vqjax.data import datasets, preparation
from vqjax.data.datasets import DATASETS
from vqjax.training import inspection


def films(root):
    np.save(root / "film.npy", np.arange(20 * 64, dtype=np.uint8).reshape(20, 8, 8, 1))
    return {"path": root / "film.npy", "frames": 3}


def own_arrays(root):
    np.savez(root / "mine.npz", image=sets.picture(0, 60, 8, 8), label=np.arange(60) % 3)
    return {"path": root / "mine.npz"}


def prepared(root):
    sets.folder(root / "photos")
    preparation.prepare(sets.opened("folder", path=root / "photos"), root / "prepared", lambda *_: None)
    return {"path": root / "prepared"}


def in_root(make, **fields):
    def write(root):
        make(root)
        return {"path": root, **fields}

    return write


def tiny(root):
    sets.tiny_tfds(root)
    return {"data_dir": str(root)}


# name of a set -> what writes one and gives the fields that find it
SETS = {
    "digits": lambda root: {},
    "photos": lambda root: {},
    "folder": in_root(sets.folder),
    "arrays": own_arrays,
    "clips": films,
    "prepared": prepared,
    "mnist": in_root(sets.mnist),
    "fashion_mnist": in_root(sets.mnist),
    "svhn_cropped": in_root(sets.svhn),
    "cifar10": in_root(lambda root: sets.cifar(root, 10, True)),
    "cifar100": in_root(lambda root: sets.cifar(root, 100, False)),
    "food101": lambda root: sets.food101(root / "food-101") and {"path": root / "food-101", "size": "32"},
    "tiny_imagenet": in_root(sets.tiny_imagenet),
    "mini_imagenet": in_root(sets.mini_imagenet, size="32", test=0.3),
    "imagenet2012": in_root(lambda root: [sets.folder(root / name) for name in ("train", "validation")]),
    "tfds/tiny": tiny,
}
FILES = ("folder", "arrays", "food101", "tiny_imagenet", "mini_imagenet", "imagenet2012")  # whose rows have names


def test_every_set_is_tried():
    assert {*DATASETS} == {*SETS} - {"tfds/tiny"} | {"imagenet_resized"}  # in TFDS only


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_it_says(tmp_path, name):
    fields = SETS[name](tmp_path)
    found = sets.opened(name, **fields, validation=0.2)
    assert found.data.name == name and found.sizes.keys() == {"train", "test"} and not found.streamed
    assert 0 <= found.num_validation(0.2) < found.sizes["train"]
    for split_name, count in found.sizes.items():
        split = found.read(split_name)
        image, label = split.arrays["image"], split.arrays["label"]
        assert image.shape == (count, *found.shape) and image.dtype == np.uint8 and split.variance() > 0
        assert label.shape == (count,) and label.dtype == np.int32
        assert 0 <= label.min() <= label.max() < max(1, len(found.class_names))
        np.testing.assert_array_equal(found.labels(split_name), label)
        files = found.files(split_name)
        assert (files is not None) == (name in FILES)
        assert files is None or len({*files}) == len(files) == count
    assert found.hash("train") != found.hash("test") and found.unlabeled == ()
    found.require_labels()
    assert all(isinstance(note, str) and len(note.splitlines()) == 1 for note in found.notes)
    again = sets.opened(name, **fields, validation=0.2)
    assert again is not found and again.notes == found.notes and again.files("train") == found.files("train")
    assert again.hash("train") == found.hash("train") and again.class_names == found.class_names


@pytest.mark.parametrize("name", SETS)
def test_inspect_says_what_a_set_is(tmp_path, name, monkeypatch):
    monkeypatch.setattr(inspection, "_SECONDS", 0.0)
    (tmp_path / "set").mkdir()
    config = sets.config_of(name, **SETS[name](tmp_path / "set"))
    counts, size, *lines = inspection.inspect_data(Settings.of(config), tmp_path / "samples.png").lines()
    found = datasets.open_dataset(Settings.of(config).data)
    sizes = datasets.split_sizes(found)
    assert counts == f"{name}: {', '.join(f'{count:,} {split}' for split, count in sizes.items())} images"
    *frames, height, width, _ = found.shape
    assert size.startswith(f"{frames[0]} frames of {height} x {width}" if frames else f"{height} x {width} pixels")
    assert [*found.notes] == [line for line in lines if line in found.notes]
    assert sum("variance of the pixels" in line for line in lines) == 1
    with Image.open(tmp_path / "samples.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 0
