"""One's own images: layouts, shares, bad files."""

import os
import shutil

import numpy as np
import pytest
from helpers import dataset_of
from PIL import Image
from sets import config_of, folder, opened, picture, save

from vqjax.data import datasets
from vqjax.data.files import probes
from vqjax.data.sets.division import hash_to_unit
from vqjax.system.errors import InputError


def by_pixels(pixels, split):
    """The paths of a split's images, in order."""
    known = {image.tobytes(): path for path, image in pixels.items()}
    return [known[np.asarray(image).tobytes()] for image in split.arrays["image"]]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "photos"


def test_classes_are_directories(root):
    pixels = folder(root, 60)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.txt").touch()
    found = opened("folder", path=root)
    assert found.class_names == ("ant", "bee") and found.shape == (8, 8, 3) and not found.bad
    paths = {}
    for name in ("train", "test"):
        split = found.read(name)
        paths[name] = by_pixels(pixels, split)
        assert [found.class_names[label] for label in split.arrays["label"]] == [x.split("/")[0] for x in paths[name]]
        assert found.sizes[name] == len(split)
    assert sorted(paths["train"] + paths["test"]) == sorted(pixels) and paths["test"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_new_file_moves_no_other(root, kept):
    """Between the three splits, whatever the share for validation; the order of the others stays, too."""

    def members(share):
        config = config_of("folder", path=root, validation=share, cache=kept)
        return {name: by_pixels(pixels, split) for name, split in datasets.load_splits(dataset_of(config)).items()}

    pixels = folder(root, 60)
    before = {share: members(share) for share in (0.1, 0.4)}
    assert {*before[0.1]["validation"]} < {*before[0.4]["validation"]}
    assert before[0.1]["test"] == before[0.4]["test"]
    pixels |= folder(root, 80)
    for share, splits in before.items():
        after = members(share)
        for name, paths in splits.items():
            assert [path for path in after[name] if path in {*paths}] == paths
            assert len(after[name]) >= len(paths)


def test_the_shares_are_those_of_the_config(root):
    found = {name: [hash_to_unit(f"a/{i}.png", name) for i in range(4000)] for name in ("test", "validation")}
    for values in found.values():
        assert abs(np.mean(np.array(values) < 0.1) - 0.1) < 0.02
    assert abs(np.corrcoef(found["test"], found["validation"])[0, 1]) < 0.05


def test_splits_are_used_as_they_are(root):
    pixels = {}
    for name, count in (("train", 12), ("val", 6), ("test", 4)):
        found = folder(root / name, count, height=8 + len(name), width=8)
        pixels |= {f"{name}/{path}": image for path, image in found.items()}
    config = config_of("folder", path=root, size="8", validation=0.5)
    splits = datasets.load_splits(dataset_of(config))
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "validation": 6, "test": 4}
    shutil.rmtree(root / "test")
    found = opened("folder", path=root, size="8")
    assert found.notes == ("there is no test: validation serves as that",)
    np.testing.assert_array_equal(
        datasets.load_splits(dataset_of(config))["test"].arrays["image"], splits["validation"].arrays["image"]
    )
    shutil.rmtree(root / "val")
    with pytest.raises(InputError, match="of which none is for test"):
        opened("folder", path=root, size="8", test=0.0)
    shutil.move(root / "train", root / "validation")
    folder(root / "test", 4)
    with pytest.raises(InputError, match="test, validation, but no directory train"):
        opened("folder", path=root, size="8")


def test_a_class_may_be_called_train(root):
    folder(root, 40, ("bus", "train"))
    assert opened("folder", path=root).class_names == ("bus", "train")


def test_flat_has_no_labels(root):
    pixels = folder(root, 40, classes=())
    found = opened("folder", path=root)
    assert found.class_names == () and found.sizes["train"] + found.sizes["test"] == 40
    train = found.read("train")
    assert not train.arrays["label"].any() and {*by_pixels(pixels, train)} < {*pixels}


def test_all_gray_is_one_channel(root):
    folder(root, 30, channels=1)
    assert opened("folder", path=root).shape == (8, 8, 1)
    assert opened("folder", path=root, channels=3).shape == (8, 8, 3)
    save(root / "ant" / "colored.png", picture(99))
    assert opened("folder", path=root).shape == (8, 8, 3)
    assert opened("folder", path=root, channels=1).read("train").arrays["image"].shape[1:] == (8, 8, 1)


@pytest.mark.parametrize("size, shape", [("6", (6, 6, 3)), ("4x10", (4, 10, 3))])
def test_sizes(root, size, shape):
    folder(root, 30)
    save(root / "ant" / "wide.png", picture(99, 20, 40))
    with pytest.raises(InputError, match=r"images of 2 sizes, from 8 x 8 to 20 x 40 pixels\nExpected one: --config"):
        opened("folder", path=root)
    assert opened("folder", path=root, size=size).read("train").arrays["image"].shape[1:] == shape


def test_five_hundred_files_with_odd_and_bad_ones(root):
    """R14: the bad ones are listed once with the reason, the odd ones are read, the order stays the same."""
    pixels = folder(root, 460)
    odd = {
        "cmyk.jpg": Image.new("CMYK", (8, 8)),
        "deep.png": Image.fromarray(np.full((8, 8), 65535, np.uint16)),
        "palette.gif": Image.new("P", (8, 8)),
        "alpha.png": Image.new("RGBA", (8, 8)),
        "odd name \n\N{SNOWMAN}.PNG": Image.new("RGB", (8, 8)),
        "no suffix": Image.new("RGB", (8, 8)),
    }
    for name, image in odd.items():
        image.save(root / "ant" / name, {"no suffix": "PNG"}.get(name))
    os.rename(root / "ant" / "0.png", os.fsencode(root / "ant") + b"/\xff.png")
    whole = (root / "bee" / "1.png").read_bytes()
    for i in range(10):
        (root / "bee" / f"half{i}.png").write_bytes(whole[: len(whole) // 2])
        (root / "bee" / f"empty{i}.png").touch()
        (root / "bee" / f"text{i}.png").write_text("x")
    os.mkfifo(root / "bee" / "pipe.png")
    (root / "notes.txt").write_text("x")
    found = opened("folder", path=root)
    assert len(found.bad) == 31 and sum(found.sizes.values()) == 466
    assert found.bad["bee/pipe.png"] == "no regular file" and found.bad["bee/empty3.png"] == "empty"
    assert found.notes[:2] == ("1 file ignored, no images: 1 .txt", "31 of 497 files are left out")
    assert len(found.notes) == 33
    assert "bee/text3.png: not an image that can be read" in found.notes
    images = found.read("train").arrays["image"]
    assert len(images) == found.sizes["train"] and len(pixels) == 460
    np.testing.assert_array_equal(opened("folder", path=root).read("train").arrays["image"], images)
    for i in range(40):
        (root / "bee" / f"more{i}.png").touch()
    with pytest.raises(InputError, match=r"71 of 537 files are no images of the set\n(.*\n){2}.*$") as refused:
        opened("folder", path=root)
    assert len(str(refused.value).splitlines()) == 4


def test_files_are_looked_at_once(root, monkeypatch):
    folder(root, 30)
    opened("folder", path=root)
    probed, probe = [], probes.probe_image
    monkeypatch.setattr(probes, "probe_image", lambda path: probed.append(path.name) or probe(path))
    opened("folder", path=root)
    assert probed == []
    save(root / "ant" / "new.png", picture(99))
    assert sum(opened("folder", path=root).sizes.values()) == 31
    assert probed == ["new.png"]


def test_the_hash_is_of_pixels_labels_and_order(root, tmp_path):
    folder(root, 30)
    before = opened("folder", path=root).hash("train")
    copy = shutil.copytree(root, tmp_path / "copy")
    assert opened("folder", path=copy).hash("train") == before
    assert opened("folder", path=copy, size="6").hash("train") != before
    moved = next(path for path in sorted((copy / "ant").iterdir()))
    shutil.move(moved, copy / "bee" / "moved.png")
    assert opened("folder", path=copy).hash("train") != before


def test_what_is_no_folder_is_refused(root, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for path, message in (
        (
            "",
            "config.data.path='': config.data.name='folder' expects a directory of images, or a file that ends in .npz",
        ),
        (tmp_path / "nowhere", "nowhere': there is no such file or directory, expected a directory of images"),
        (tmp_path / "file", "file': expected a directory of images, or a file that ends in .npz"),
        (tmp_path / "empty", "empty': expected images, found none"),
    ):
        with pytest.raises(InputError) as refused:
            opened("folder", path=path)
        assert message in str(refused.value)
    folder(root, 30)
    for field, value, message in (
        ("size", "8x", "config.data.size='8x': expected a number of pixels, or HxW"),
        ("size", "0", "config.data.size='0': expected a number"),
        ("channels", 2, "config.data.channels=2: expected 1 or 3, or 0 to find out"),
        ("data_dir", "/there", "config.data.data_dir='/there': expected none, config.data.name='folder' does not"),
        ("resized_crop", 0.5, "config.data.resized_crop=0.5: only of a set that is streamed"),
    ):
        with pytest.raises(InputError) as refused:
            opened("folder", path=root, **{field: value})
        assert message in str(refused.value)
