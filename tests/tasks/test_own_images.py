"""One's own images in every task, weights that a run starts from, and data that has moved."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import assert_same, dataset_of, task_of
from PIL import Image

import vqjax
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.evaluation import evaluate
from vqjax.training.inspection import inspect_data


def write_images(root, classes=("ant", "bee"), count=40, seed=0, size=(8, 8)):
    """Smooth images, of the classes in turn; flat without classes."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        path = root / classes[i % len(classes)] / f"{i}.png" if classes else root / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (2, 2, 1), np.uint8)
        Image.fromarray(coarse.repeat(4, 0).repeat(4, 1)[..., 0]).resize(size[::-1]).save(path)


def write_arrays(file, labels=True, count=40):
    rng = np.random.default_rng(1)
    label = {"label": np.arange(count) % 2} if labels else {}
    np.savez(file, image=rng.integers(0, 256, (count, 8, 8), np.uint8), **label)


@pytest.fixture(params=["folder", pytest.param("arrays", marks=pytest.mark.slow)])
def own(request, tmp_path):
    """The fields of `config.data` of images with labels."""
    path = tmp_path / ("photos" if request.param == "folder" else "photos.npz")
    (write_images if request.param == "folder" else write_arrays)(path)
    return {"name": request.param, "path": str(path), "test": 0.3}


def with_data(config, own):
    config.data.update(own)
    return config


@pytest.mark.slow
def test_every_task(own, small_config, prior_config, classifier_config, code_classifier_config, tmp_path):
    """Stage 1, then what stands on it; what the data was is in run.json."""
    stage1 = tmp_path / "own"
    assert loop.train(with_data(small_config, own), stage1) == 0
    facts = json.loads((stage1 / "run.json").read_text())
    assert facts["dataset"] == own["name"] and facts["image_shape"] == [8, 8, 1] and facts["variance"] > 0
    assert len(facts["class_names"]) == 2 and sum(facts["sizes"].values()) == 40
    assert {*facts["hash"]} == {"train", "test"}
    for number, config in enumerate((prior_config, code_classifier_config)):
        config.stage1, config.data.name = str(stage1), ""
        assert loop.train(config, tmp_path / str(number)) == 0
        assert json.loads((tmp_path / str(number) / "run.json").read_text())["class_names"] == facts["class_names"]
    assert loop.train(with_data(classifier_config, own), tmp_path / "classifier") == 0
    assert np.isfinite(evaluate(Workdir(tmp_path / "0"))[1]["nats_per_code"])


@pytest.mark.slow
def test_without_labels(small_config, prior_config, classifier_config, code_classifier_config, tmp_path, capsys):
    """A prior is unconditional, and says so; classifiers refuse."""
    write_images(tmp_path / "photos", classes=())
    own = {"name": "folder", "path": str(tmp_path / "photos")}
    stage1 = tmp_path / "own"
    assert loop.train(with_data(small_config, own), stage1) == 0
    prior_config.stage1 = code_classifier_config.stage1 = str(stage1)
    prior_config.data.name = code_classifier_config.data.name = ""
    capsys.readouterr()
    assert loop.train(prior_config, tmp_path / "prior") == 0
    assert capsys.readouterr().out.count("has no labels: the prior is unconditional") == 1
    assert vqjax.load(tmp_path / "prior").sample(3).images.shape == (3, 8, 8, 1)
    for config in (with_data(classifier_config, own), code_classifier_config):
        with pytest.raises(InputError, match="labels"):
            task_of(config)


@pytest.mark.more
def test_a_run_starts_from_the_weights_of_another(small_config, trained_stage1, tmp_path, capsys):
    """Step 0 has them, the codebook too; a run of another shape is refused before anything is written."""
    write_images(tmp_path / "photos")
    with_data(small_config, {"name": "folder", "path": str(tmp_path / "photos")})
    small_config.init_from, small_config.steps = str(trained_stage1), 1
    small_config.optimizer.update({"name": "sgd", "learning_rate": 1e-9})
    assert loop.train(small_config, tmp_path / "tuned") == 0
    assert "starting from its weights, step 6" in capsys.readouterr().out
    before, after = (Stage1(workdir).variables["params"] for workdir in (trained_stage1, tmp_path / "tuned"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), before, after)
    assert loop.train(small_config, tmp_path / "tuned") == 0  # the same command again: it is finished
    (tmp_path / "killed").mkdir()
    for name in ("config.json", "run.json"):  # what there is before the first checkpoint
        shutil.copy(tmp_path / "tuned" / name, tmp_path / "killed")
    assert loop.train(small_config, tmp_path / "killed") == 0
    assert_same(after, Stage1(tmp_path / "killed").variables["params"])
    small_config.model.deepmind.width = 12
    with pytest.raises(InputError, match=r"config.init_from=.*stage1"):
        loop.train(small_config, tmp_path / "wider")
    assert not (tmp_path / "wider" / "config.json").exists()
    small_config.init_from = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"config.init_from=.*nowhere"):
        loop.train(small_config, tmp_path / "other")


@pytest.mark.more
def test_data_that_has_moved(small_config, prior_config, tmp_path):
    """--data_path says where it is now; what was looked at is said; other images are other images."""
    write_images(tmp_path / "photos")
    stage1 = tmp_path / "own"
    assert loop.train(with_data(small_config, {"name": "folder", "path": str(tmp_path / "photos")}), stage1) == 0
    figures = evaluate(Workdir(stage1))[1]
    moved = shutil.move(tmp_path / "photos", tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"config.data.path='.*photos': there is no such file or directory"):
        evaluate(Workdir(stage1))
    assert evaluate(Workdir(stage1), data_path=str(moved))[1] == figures
    vqjax.load(stage1).export_codes(tmp_path / "codes", "test", data_path=moved)
    write_images(tmp_path / "larger", size=(8, 12))
    with pytest.raises(InputError, match="image_shape 8 x 12 x 1, the run was trained on 8 x 8 x 1"):
        evaluate(Workdir(stage1), data_path=str(tmp_path / "larger"))
    write_images(tmp_path / "wasps", classes=("ant", "wasp"))
    with pytest.raises(InputError, match="the run was trained on 2 classes"):
        evaluate(Workdir(stage1), data_path=str(tmp_path / "wasps"))


@pytest.mark.more
def test_kept_codes_are_those_of_the_data(small_config, tmp_path):
    write_images(tmp_path / "a")
    write_images(tmp_path / "b", seed=1)
    with_data(small_config, {"name": "folder", "path": str(tmp_path / "a")})
    assert loop.train(small_config, tmp_path / "own") == 0
    stage1 = Stage1(tmp_path / "own")
    for path in ("a", "b", "a"):
        data = datasets.with_data_paths(stage1.settings.data, data_path=str(tmp_path / path))
        dataset = datasets.open_dataset(data)
        expected = stage1.encode(stage1.variables, datasets.read_split(dataset, "test").arrays["image"])
        np.testing.assert_array_equal(stage1.read(dataset, "test").arrays["codes"], expected)


@pytest.mark.more
def test_a_run_goes_on_only_with_its_own_images(small_config, tmp_path):
    write_images(tmp_path / "photos")
    with_data(small_config, {"name": "folder", "path": str(tmp_path / "photos")})
    assert loop.train(small_config, tmp_path / "own") == 0
    shutil.rmtree(tmp_path / "photos")
    write_images(tmp_path / "photos", seed=1)
    small_config.steps = 8
    with pytest.raises(InputError, match="is not what the run began with"):
        loop.train(small_config, tmp_path / "own")


def test_where_tfds_is_now(trained_stage1, tmp_path, monkeypatch, capsys):
    data = dataclasses.replace(Stage1(trained_stage1).settings.data, data_dir=str(tmp_path / "gone"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert datasets.with_data_paths(data).data_dir == str(tmp_path / "gone")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert datasets.with_data_paths(data).data_dir == ""
    assert f"TFDS_DATA_DIR={tmp_path} instead" in capsys.readouterr().out
    assert datasets.with_data_paths(data, data_dir="given").data_dir == str(Path("given").absolute())
    (tmp_path / "gone").mkdir()
    assert datasets.with_data_paths(data).data_dir == str(tmp_path / "gone")


def test_what_inspect_says(small_config, tmp_path):
    """Counts, classes, the picture; doubles, a size that the stride does not divide, and bad files are odd."""
    root = tmp_path / "photos"
    write_images(root, size=(9, 9))
    for i in range(2, 40, 2):
        shutil.copy(root / "ant" / "0.png", root / "ant" / f"{i}.png")
    (root / "ant" / "bad.png").write_text("no image")
    with_data(small_config, {"name": "folder", "path": str(root), "test": 0.5, "validation": 0.2})
    small_config.model.ema.num_codes = 2_000
    lines = inspect_data(Settings.of(small_config), tmp_path / "out" / "samples.png").lines()
    text = "\n".join(lines)
    train, validation, test = (len(split) for split in datasets.load_splits(dataset_of(small_config)).values())
    assert lines[0] == f"folder: {train} train, {validation} validation, {test} test images"
    assert "9 x 9 pixels, 1 channel, in memory" in text and "2 classes, in train: ant" in text
    assert "bad.png: not an image that can be read" in text
    assert "images of train are there more than once" in text and "images of test are in train too" in text
    assert sum(line.startswith("odd: ") and "stride" in line for line in lines) == 1
    with Image.open(tmp_path / "out" / "samples.png") as picture:
        assert picture.width > 64
    small_config.data.size = "8"
    odd = inspect_data(Settings.of(small_config), tmp_path / "samples.png").odd
    assert any("num_codes=2000: expected at most" in line for line in odd)


def test_inspect_tells_one_class_and_one_colour(small_config, tmp_path):
    for i in range(40):
        (tmp_path / "grey").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 7).save(tmp_path / "grey" / f"{i}.png")
    with_data(small_config, {"name": "folder", "path": str(tmp_path)})
    lines = inspect_data(Settings.of(small_config), tmp_path / "samples.png").lines()
    assert any(line.startswith("odd: ") and "one class only, grey" in line for line in lines)
    assert "odd: all pixels of train are alike" in lines
