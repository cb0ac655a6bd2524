"""Classifiers: of arrays, of image files and of directories of them."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from conftest import more_but
from helpers import dataset_of, rewrite
from PIL import Image
from tiny import small_code_classifier

import vqjax
from vqjax.__main__ import main
from vqjax.data import datasets
from vqjax.inference import classifier as module
from vqjax.inference.image_files import find_images
from vqjax.system.errors import InputError
from vqjax.training import loop

pytest_plugins = "inference_fixtures"


@pytest.fixture(scope="module")
def digits(runs):
    """The images (360, 8, 8, 1) and labels that eval.json is about."""
    return datasets.read_split(dataset_of(vqjax.load(runs / "tokenizer").config), "test").arrays


@pytest.fixture
def photos(digits, tmp_path):
    """A directory of five digits as files, some of them in directories inside, beside files of other kinds."""
    root = tmp_path / "photos"
    for name in ("", "b", "a/deep", ".hidden"):
        (root / name).mkdir(parents=True, exist_ok=True)
    names = ["z.png", "a/1.png", "a/deep/2.tiff", "b/0.PNG", "b/3.bmp"]
    for name, image in zip(names, digits["image"]):
        Image.fromarray(image[..., 0]).save(root / name)
    (root / "z.txt").write_text("a caption")
    (root / "a" / "Thumbs.db").write_bytes(b"?")
    Image.new("L", (8, 8)).save(root / ".hidden" / "x.png")
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    return root, sorted(names, key=lambda name: (os.path.dirname(name), name)), dict(zip(names, digits["image"]))


@pytest.mark.parametrize("kind", more_but("classifier", ["classifier", "codes"]))
def test_classes_are_predicted_as_in_the_evaluation(runs, digits, kind):
    classifier = vqjax.Classifier.load(runs / kind)
    probabilities = classifier.predict(digits["image"] / 255)
    assert probabilities.shape == (360, 10) and isinstance(probabilities, np.ndarray)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(np.mean(probabilities.argmax(1) == digits["label"]), classifier.metrics["accuracy"])
    assert classifier.class_names == tuple("0123456789")


def test_another_size_is_refused(runs):
    classifier = vqjax.Classifier.load(runs / "classifier")
    with pytest.raises(ValueError, match="images of 10 x 8 pixels: expected 8 x 8, as in training"):
        classifier.predict(np.zeros((2, 10, 8)))


@pytest.mark.parametrize("kind", more_but("classifier", ["classifier", "codes"]))
def test_files_get_the_probabilities_of_their_pixels(runs, digits, kind, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, image in zip(files, digits["image"]):
        Image.fromarray(image[..., 0]).save(file)
    classifier = vqjax.Classifier.load(runs / kind)
    predictions = classifier.predict_files(files)
    assert [prediction.file for prediction in predictions] == [str(file) for file in files]
    found = np.stack([prediction.probabilities for prediction in predictions])
    np.testing.assert_allclose(found, classifier.predict(digits["image"][:5]), atol=1e-6)
    assert not any(prediction.notes for prediction in predictions)


@pytest.mark.parametrize("at_once", [2, 256])
def test_a_directory_is_walked(runs, photos, monkeypatch, at_once):
    """It was "a directory, expected a file"."""
    monkeypatch.setattr(module, "_FILES", at_once)
    root, names, images = photos
    classifier = vqjax.Classifier.load(runs / "classifier")
    predictions = classifier.predict_files([root])
    assert [os.path.relpath(prediction.file, root) for prediction in predictions] == names
    expected = classifier.predict(np.stack([images[name] for name in names]))
    np.testing.assert_allclose(np.stack([prediction.probabilities for prediction in predictions]), expected, atol=1e-6)
    both = classifier.predict_files([root / "z.png", root / "b"])
    assert [os.path.relpath(prediction.file, root) for prediction in both] == ["z.png", "b/0.PNG", "b/3.bmp"]


def test_what_is_left_out_of_a_directory_is_said(runs, photos, capsys):
    root, names, _ = photos
    (root / "a" / "1.png").write_text("no picture")
    assert main(["predict", str(runs / "classifier"), str(root)]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 4 and "1.png" not in output.out
    assert f"{root}: 5 images; 2 other files are left out" in output.err
    assert f"left out: {root}/a/1.png: not an image that can be read" in output.err
    with pytest.raises(InputError, match="1.png: not an image that can be read"):  # one that is named
        main(["predict", str(runs / "classifier"), str(root / "a" / "1.png")])


def test_a_directory_without_images_is_refused(runs, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("a")
    with pytest.raises(InputError, match="words: expected images, found none in this directory"):
        main(["predict", str(runs / "classifier"), str(tmp_path / "words")])


def test_no_images_at_all_are_refused():
    with pytest.raises(InputError, match="^expected images, found none$"):
        find_images([])


def test_a_table_has_a_header_and_a_row_per_file(runs, photos, tmp_path, capsys):
    root, names, images = photos
    (root / "a" / "1.png").rename(root / "a" / os.fsdecode(b"1\xff,\n.png"))
    words = ["predict", str(runs / "classifier"), str(root), "--out", str(tmp_path / "table.csv")]
    assert main(words) == 0
    assert capsys.readouterr().out == f"5 images; written to {tmp_path / 'table.csv'}\n"
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "class", "probability", *(f"p({digit})" for digit in range(10))] and len(rows) == 5
    classifier = vqjax.Classifier.load(runs / "classifier")
    expected = classifier.predict(np.stack([images[name] for name in names]))
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), expected, atol=1e-5)
    assert [int(row[1]) for row in rows] == expected.argmax(1).tolist()
    assert rows[1][0] == f"{root}/a/1\\xff,\\x0a.png"  # a line of text, whatever the name
    for out in (tmp_path / "no" / "table.csv", tmp_path / "table.txt"):
        with pytest.raises(InputError, match="--out=.*: expected a path that ends in .csv, in a directory that exists"):
            main([*words[:-1], str(out)])


def test_json_is_all_that_stdout_has(runs, photos, capsys):
    root, names, _ = photos
    assert main(["predict", str(runs / "classifier"), str(root), "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert [os.path.relpath(entry["file"], root) for entry in found] == names and "left out" in output.err
    for entry in found:
        assert max(entry["probabilities"], key=entry["probabilities"].get) == entry["class"]
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_the_names_are_those_of_the_run(runs, photos, tmp_path, capsys):
    shutil.copytree(runs / "classifier", tmp_path / "run")
    rewrite(tmp_path / "run" / "run.json", class_names=[f"digit {number}" for number in range(10)])
    Image.new("RGB", (20, 10)).save(tmp_path / "photo.png")
    main(["predict", "--workdir", str(tmp_path / "run"), str(tmp_path / "photo.png")])
    line = capsys.readouterr().out
    assert line.startswith(f"{tmp_path}/photo.png: digit ") and line.count("%") == 5
    assert "(converted from RGB to L) (resized from 20 x 10 and cropped to 8 x 8 pixels)" in line


@pytest.mark.more
def test_a_stage_1_that_has_moved_is_found_where_it_is(runs, photos, tmp_path):
    shutil.copytree(runs / "tokenizer", tmp_path / "first")
    assert loop.train(small_code_classifier(tmp_path / "first"), tmp_path / "run") == 0
    before = vqjax.Classifier.load(tmp_path / "run").predict_files([photos[0]])
    shutil.move(tmp_path / "first", tmp_path / "moved")
    after = vqjax.Classifier.load(tmp_path / "run", stage1=tmp_path / "moved").predict_files([photos[0]])
    for old, new in zip(before, after):
        np.testing.assert_array_equal(new.probabilities, old.probabilities)
