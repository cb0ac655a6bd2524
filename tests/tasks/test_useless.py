"""Runs that can only be of no use: train refuses them before the data is read, in the words of inspect."""

import numpy as np
import pytest
from conftest import small_autoencoder, small_classifier
from helpers import on_one_device
from PIL import Image

from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.system.errors import InputError
from vqjax.training import inspection
from vqjax.training.setup import plan

SMALL = {"autoencoder": small_autoencoder, "classifier": small_classifier}
VECTORS = "expected at most as many as train has vectors, 40 images of"
NORM = "config.batch_size=1: expected at least 2, since batch norm takes statistics over the batch, and an image has"
CASES = [  # (task, fields, how the lines of the refusal begin and end)
    (
        "autoencoder",
        {"batch_size": 64, "model.ema.num_codes": 1_000},
        [
            ("config.batch_size=64: expected at most the 40 images of train", "; set --config.batch_size=32"),
            (f"config.model.ema.num_codes=1000: {VECTORS} 16; ", "; set --config.model.ema.num_codes=512"),
        ],
    ),
    (
        "classifier",
        {"model.quantizer": "residual", "model.ema.num_codes": 512},
        [(f"config.model.ema.num_codes=512: {VECTORS} 1; ", "; set --config.model.ema.num_codes=32")],
    ),
    (
        "classifier",
        {"model.quantizer": "fsq", "model.fsq.levels": (8, 8)},
        [(f"config.model.fsq.levels: 64 codes: {VECTORS} 1; ", "; set --config.model.fsq.levels to fewer")],
    ),
    (
        "autoencoder",
        {"model.codec": "hierarchical", "model.hierarchical.top.num_codes": 1},
        [
            (
                "config.model.hierarchical.top.num_codes=1: expected at least 2",
                "set --config.model.hierarchical.top.num_codes",
            ),
            (f"config.model.hierarchical.bottom.num_codes=512: {VECTORS} 4; ", "bottom.num_codes=128"),
        ],
    ),
    (
        "autoencoder",
        {"model.encoder": "vqgan", "model.decoder": "vqgan", "model.vqgan.multipliers": (1, 1, 1, 1)},
        [("config.model.vqgan.width=32: group norm has a single value", "; set --config.model.vqgan.width")],
    ),
    ("classifier", {"batch_size": 1}, [(NORM, "; set --config.batch_size=2")]),
    ("classifier", {"batch_size": 1, "model.quantize": "grid", "data.size": "2"}, [(NORM, "batch_size=2")]),
    (
        "classifier",
        {"optimizer.warmup": 6},
        [("config.optimizer.warmup=6: expected less than config.steps=6", "")],
    ),
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 images of two classes for train, and others for test."""
    root, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(80):
        directory = root / ("train", "test")[i // 40] / "ab"[i % 2]
        directory.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(256, size=(8, 8), dtype=np.uint8)).save(directory / f"{i}.png")
    return root


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """On one device, without a second that measures the speed of reading."""
    on_one_device(monkeypatch)
    monkeypatch.setattr(inspection, "_SECONDS", 0.0)


def config_of(task, photos):
    config = SMALL[task]()
    config.data.update(name="folder", path=str(photos), validation=0.0, crop=0)
    return config


def refusal(config, picture):
    """The lines in which train refuses the run. Those are all that inspect finds odd."""
    with pytest.raises(InputError) as refused:
        plan(Settings.of(config))
    lines = str(refused.value).splitlines()
    said = inspection.inspect_data(Settings.of(config), picture).lines()
    assert [line.removeprefix("odd: ") for line in said if line.startswith("odd: ")] == lines
    return lines


@pytest.mark.parametrize(("task", "fields", "expected"), CASES)
def test_each_reason_ends_with_the_flag_that_mends_it(task, fields, expected, photos, tmp_path):
    config = config_of(task, photos)
    config.update_from_flattened_dict(fields)
    lines = refusal(config, tmp_path / "samples.png")
    assert len(lines) == len(expected), lines
    for line, (start, end) in zip(lines, expected):
        assert line.startswith(start) and line.endswith(end), line


def test_what_is_close_to_it_is_trained(photos):
    """A batch of all images; a batch of one whose images have several positions; two codes."""
    config = config_of("autoencoder", photos)
    config.update(batch_size=40)
    config.model.ema.num_codes = 2
    plan(Settings.of(config))
    config = config_of("classifier", photos)
    config.update(batch_size=1)
    config.model.quantize = "grid"
    plan(Settings.of(config))


def test_a_classifier_of_one_class_is_refused(photos, tmp_path):
    (tmp_path / "photos").mkdir()
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir()
        (tmp_path / "photos" / split / "a").symlink_to(photos / split / "a")
    config = config_of("classifier", tmp_path / "photos")
    lines = refusal(config, tmp_path / "samples.png")
    assert lines[-1] == "config.data.name='folder' has one class only, a: there is nothing to classify"


def test_a_limit_below_the_batch_is_a_warning_of_both(photos, tmp_path):
    config = config_of("autoencoder", photos)
    config.data.limit = 8
    (line,) = datasets.dataset_warnings(plan(Settings.of(config)).dataset, config.batch_size)
    assert line == "config.batch_size=16: more than the 8 images of train, some come twice"
    assert f"odd: {line}" in inspection.inspect_data(Settings.of(config), tmp_path / "samples.png").lines()
