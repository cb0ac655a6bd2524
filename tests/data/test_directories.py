"""Directories of one's own images: which are splits, which are classes, and what is said of the rest."""

import os
import shutil

import pytest
from sets import folder, opened, picture, save

from vqjax.data.sets.division import split_of
from vqjax.system.errors import InputError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "photos"


def images_of(found, name):
    """{class or "": number of images} of a split."""
    counts = {}
    for label in found.labels(name):
        key = found.class_names[label] if label >= 0 and found.class_names else ""
        counts[key] = counts.get(key, 0) + 1
    return counts


NAMES = {
    "train": ["train", "training", "Train", "train_set", "training-images", "trainset", "train2017", "images_train"],
    "validation": ["val", "valid", "validation", "dev", "development", "VAL", "val2017", "dev_set", "valset"],
    "test": [
        "test",
        "testing",
        "eval",
        "evaluation",
        "holdout",
        "held_out",
        "hold-out",
        "Test Images",
        "testset",
        "heldout",
    ],
    None: [
        "ant",
        "retrain",
        "train_station",
        "testament",
        "evaluations of x",
        "developer",
        "images",
        "2017",
        "",
        "trainval",
    ],
}


@pytest.mark.parametrize("name, split", [(name, split) for split, names in NAMES.items() for name in names])
def test_names_of_splits(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize("train", ["train", "training_set"])
@pytest.mark.parametrize("other", [*NAMES["validation"], *NAMES["test"]])
def test_splits_are_known_by_their_names(root, train, other):
    """Held-out images are not trained on."""
    folder(root / train, 20)
    folder(root / other, 8)
    found = opened("folder", path=root)
    assert found.class_names == ("ant", "bee")
    validation = split_of(other) == "validation"
    assert found.sizes == {"train": 28 if validation else 20, "test": 8}
    assert found.num_validation(0.5) == (8 if validation else found.num_validation(0.5))
    assert {path.split("/")[0] for path in found.files("test")} == {other}
    said = [note for note in found.notes if note.startswith("directories taken for splits: ")]
    plain = ("train", "training", "val", "valid", "validation", "test", "testing")
    guessed = [name for name in sorted((train, other)) if name.lower() not in plain]
    pairs = ", ".join(f"{name} for {split_of(name)}" for name in guessed)
    assert said == ([f"directories taken for splits: {pairs}"] if guessed else [])


def test_three_splits_by_any_name(root):
    for name, count in (("train", 20), ("dev", 6), ("eval", 4)):
        folder(root / name, count)
    found = opened("folder", path=root)
    assert found.sizes == {"train": 26, "test": 4} and found.num_validation(0.0) == 6
    assert found.notes == ("directories taken for splits: dev for validation, eval for test",)


@pytest.mark.parametrize("other", ["batch2", "more", "unlabeled"])
@pytest.mark.parametrize("known", ["train", "test"])
def test_a_second_directory_with_the_same_classes_is_not_a_class(root, known, other):
    """Nobody can tell whether they are splits or classes: neither is guessed."""
    folder(root / known, 20)
    folder(root / other, 8)
    with pytest.raises(InputError) as refused:
        opened("folder", path=root)
    message = str(refused.value)
    assert f"{known} is called like a split and has directories (ant, bee), but {other} beside it" in message
    assert len(message.splitlines()) == 2 and f"config.data.path='{root}'" in message


@pytest.mark.parametrize("known", [["train"], ["train", "test"], ["val"]])
def test_a_class_may_be_called_like_a_split(root, known):
    """This is said; unless all that it could be is a split."""
    folder(root, 60, (*known, "bus"))
    if len(known) == 2:  # train and test: bus is left out
        found = opened("folder", path=root)
        assert found.class_names == () and found.notes == (
            "bus left out, with 20 files: beside splits, but called like none",
        )
        return
    found = opened("folder", path=root)
    assert found.class_names == tuple(sorted((*known, "bus")))
    assert found.notes == (f"{known[0]} taken for a class, not for a split: bus beside it is called like none",)


def test_two_directories_for_one_split_are_refused(root):
    for name in ("train", "test", "holdout"):
        folder(root / name, 8)
    with pytest.raises(InputError, match="holdout and test are both for test, expected one of them"):
        opened("folder", path=root)


def test_what_lies_beside_splits_is_said(root):
    for name in ("train", "test", "extra"):
        folder(root / name, 20)
    save(root / "cover.png", picture(99))
    (root / "docs").mkdir()
    (root / "docs" / "readme.txt").touch()
    found = opened("folder", path=root)
    assert found.sizes == {"train": 20, "test": 20}
    assert found.notes == (
        "extra left out, with 20 files: beside splits, but called like none",
        "1 file left out, beside the directories of splits",
    )


# Labels


@pytest.mark.parametrize("flat", ["test", "val"])
def test_a_flat_split_beside_classes_has_no_labels(root, flat):
    """Enough for an autoencoder; a task that needs labels can ask."""
    folder(root / "train", 20)
    folder(root / flat, 6, classes=())
    if flat == "val":
        folder(root / "test", 8)
    found = opened("folder", path=root)
    assert found.class_names == ("ant", "bee") and found.unlabeled == ("validation" if flat == "val" else "test",)
    assert images_of(found, "test" if flat == "test" else "train").get("") == 6
    split = found.read("test" if flat == "test" else "train").arrays
    assert sorted({*split["label"]}) == ([-1] if flat == "test" else [-1, 0, 1])
    name = found.unlabeled[0]
    assert found.notes == (f"6 of 6 images of {name} without a label: enough for an autoencoder, not for classes",)
    with pytest.raises(InputError, match=f"{name} has no labels, and config.task needs them"):
        found.require_labels()
    folder(root / "train", 20)
    shutil.rmtree(root / flat)
    folder(root / flat, 6)
    opened("folder", path=root).require_labels()


def test_flat_training_images_leave_the_set_without_labels(root):
    folder(root / "train", 20, classes=())
    folder(root / "test", 8)
    found = opened("folder", path=root)
    assert found.class_names == () and not found.read("test").arrays["label"].any() and found.unlabeled == ()
    assert found.notes == ("test has directories of classes, and train has none: no labels",)
    found.require_labels()


def test_classes_that_one_split_lacks_are_said(root):
    folder(root / "train", 20)
    folder(root / "test", 9, classes=("ant", "wasp\n$<", "bee"))
    (root / "train" / "moth").mkdir()
    found = opened("folder", path=root)
    assert found.class_names == ("ant", "bee", "wasp\n$<")
    assert found.notes == (
        "1 directory without images: train/moth",
        "1 of 3 classes has images in validation or test, but none in train: wasp\\n$<",
    )


def test_directories_inside_classes_are_merged_and_said(root):
    folder(root / "all", 40)
    found = opened("folder", path=root)
    assert found.class_names == ("all",)
    assert found.notes == ("2 directories inside the directories of classes, of the same class: all/ant, all/bee",)


# Files that are no images


def test_files_that_are_no_images_by_their_endings_are_ignored(root):
    """One line says how many; none of them is counted as bad."""
    pixels = folder(root, 40)
    for path in pixels:
        (root / path).with_suffix(".txt").write_text("a caption")
        (root / path).with_suffix(".json").write_text("{}")
    for place in ("ant", "bee"):
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "annotation.xml", "LICENSE"):
            (root / place / name).write_bytes(b"\0\0\0\1Bud1" + bytes(64))
    (root / "ant" / "film.mp4").write_bytes(b"\0" * 64)
    save(root / "bee" / "picture.final version", picture(98), format="PNG")
    found = opened("folder", path=root)
    assert sum(found.sizes.values()) == 41 and not found.bad
    assert found.notes == (
        "91 files ignored, no images: 40 .json, 40 .txt, 2 without an ending, 2 .db, 2 .xml, …, 2 hidden",
    )


def test_nothing_but_other_files(root):
    root.mkdir()
    (root / "notes.txt").touch()
    with pytest.raises(InputError, match=r"expected images, found none; 1 file ignored, no images: 1 .txt$"):
        opened("folder", path=root)


def test_the_frames_and_links_of_files_are_said(root):
    from PIL import Image

    folder(root, 40)
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (10, 200)]
    frames[0].save(root / "ant" / "film.gif", save_all=True, append_images=frames[1:])
    os.link(root / "ant" / "0.png", root / "bee" / "hard.png")
    (root / "bee" / "soft.png").symlink_to(root / "ant" / "0.png")
    assert opened("folder", path=root).notes == (
        "1 file with several frames, of which the first is used: ant/film.gif",
        "2 files there again under another name, by links: ant/0.png, bee/hard.png, bee/soft.png",
    )


# Links


def test_two_links_to_one_directory(root, tmp_path):
    """The second class would vanish: it is said."""
    folder(tmp_path / "elsewhere", 40, classes=())
    folder(root, 20, classes=("ant",))
    for name in ("bee", "cat"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    found = opened("folder", path=root)
    assert found.class_names == ("ant", "bee") and sum(found.sizes.values()) == 60
    assert found.notes == ("cat is the same directory as bee, and left out",)


def test_links_that_lead_back_end(root):
    folder(root, 30)
    (root / "ant" / "again").symlink_to(root / "ant")
    (root / "whole").symlink_to(root)
    found = opened("folder", path=root)
    assert sum(found.sizes.values()) == 30 and found.class_names == ("ant", "bee")
    assert found.notes == (
        "ant/again is the same directory as ant, and left out",
        "whole is the same directory as the whole, and left out",
    )


def test_a_directory_that_cannot_be_read_is_said(root, monkeypatch):
    folder(root, 30)
    (root / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = opened("folder", path=root)
    assert f"{root}/closed cannot be read, and is left out: Permission denied" in found.notes
