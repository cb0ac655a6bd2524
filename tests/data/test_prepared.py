"""Sets that are decoded once: the same images, read without decoding, in shares, and resumed exactly."""

import itertools
import json
import pickle

import numpy as np
import pytest
from conftest import small_autoencoder, small_prior
from helpers import assert_same, saved, stop_after
from sets import folder, opened, tiny_tfds

from vqjax.__main__ import main
from vqjax.data import datasets, preparation
from vqjax.data.batches import batches
from vqjax.data.preparation import prepare
from vqjax.data.sets.prepared import PreparedSource
from vqjax.system.errors import InputError
from vqjax.training import loop


@pytest.fixture
def small_shards(monkeypatch):
    """Five images of 8 x 8 to a shard."""
    monkeypatch.setattr(preparation, "SHARD_BYTES", 5 * 8 * 8 * 3)


@pytest.fixture
def made(tmp_path, small_shards):
    """Directory of a prepared set of 40 images, and the fields of the set that it was made of."""
    folder(tmp_path / "photos", 40)
    fields = {"name": "folder", "path": tmp_path / "photos"}
    return prepare(opened(**fields), tmp_path / "prepared", lambda *_: None), fields


def test_the_images_are_those_of_the_set(made):
    """Held and streamed; the source travels; labels, classes and sizes."""
    path, fields = made
    original = opened(**fields)
    for memory in (4.0, 0.0):
        found = opened("prepared", path=path, memory=memory)
        assert found.streamed == (memory == 0) and found.class_names == original.class_names
        for name, count in original.sizes.items():
            split = pickle.loads(pickle.dumps(found.read(name)))
            assert len(split) == count
            for key, array in original.read(name).arrays.items():
                np.testing.assert_array_equal(np.asarray(split.arrays[key]), array)
    shards = sorted(file.name for file in path.glob("train-*.array_record"))
    assert len(shards) == -(-original.sizes["train"] // 5) and shards[0].startswith("train-00000-of-0000")


def test_processes_read_their_shares(made):
    """Two processes read the two halves of each batch, and what the other has is not read."""
    path, _ = made
    split = datasets.load_splits(opened("prepared", path=path, memory=0.0))["train"]
    whole = batches(split, 8, 3, True)
    parts = [batches(split, 8, 3, True, 0, process, 2) for process in (0, 1)]
    for batch, *shares in itertools.islice(zip(whole, *parts), 6):
        for name, array in batch.items():
            np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), array)


def test_a_set_with_its_own_validation_keeps_it(tmp_path):
    tiny_tfds(tmp_path / "tfds", splits=("train", "validation", "test"))
    original = opened("tfds/tiny", data_dir=str(tmp_path / "tfds"))
    path = prepare(original, tmp_path / "prepared", lambda *_: None)
    found = opened("prepared", path=path)
    assert found.num_validation(0.5) == original.num_validation(0.5) > 0
    assert found.sizes == original.sizes


def config_on(path, memory=0.0):
    config = small_autoencoder()
    config.data.update({"name": "prepared", "path": str(path), "memory": memory})
    return config


@pytest.mark.more
def test_a_run_is_that_on_the_set_itself_and_resumes_exactly(made, tmp_path):
    path, fields = made
    config = config_on(path)
    assert loop.train(config, tmp_path / "run") == 0
    config.data.update({"name": "folder", "path": str(fields["path"])})
    assert loop.train(config, tmp_path / "itself") == 0
    config = config_on(path)
    assert loop.train(config, tmp_path / "stopped", on_step=stop_after(3)) == 143
    assert loop.train(config, tmp_path / "stopped") == 0
    for other in ("itself", "stopped"):
        assert_same(saved(tmp_path / "run"), saved(tmp_path / other))


@pytest.mark.more
def test_a_second_stage_on_codes_opens_no_image(made, tmp_path, monkeypatch):
    """Once the codes are there, the shards may go."""
    path, _ = made
    assert loop.train(config_on(path), tmp_path / "stage1") == 0
    config = small_prior(tmp_path / "stage1")
    config.data.memory = 0.0
    assert loop.train(config, tmp_path / "prior") == 0
    opened_rows = []
    monkeypatch.setattr(PreparedSource, "decode", lambda self, row, rng=None: opened_rows.append(row))
    for shard in path.glob("*.array_record"):
        shard.unlink()
    assert loop.train(config, tmp_path / "again") == 0 and not opened_rows
    assert_same(saved(tmp_path / "prior"), saved(tmp_path / "again"))


def test_what_was_stopped_is_finished(made, tmp_path):
    """Shards that are whole stay as they are; one that is missing is written again, to the same bytes."""
    path, fields = made
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    description = json.loads((path / "prepared.json").read_text())
    lost = description["shards"]["train"][2:]
    for file, _, _ in lost:
        (path / file).unlink()
    description["shards"] = {"train": description["shards"]["train"][:2]}
    (path / "prepared.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="is not finished: run vqjax prepare again"):
        opened("prepared", path=path)
    kept = path / description["shards"]["train"][0][0]
    time = kept.stat().st_mtime_ns
    said = []
    prepare(opened(**fields), path, lambda *line: said.append(line))
    assert kept.stat().st_mtime_ns == time and said[0][:2] == ("train", 15)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_shard_that_is_lost_is_written_again(made):
    path, fields = made
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    first = min(path.glob("train-*.array_record"))
    first.unlink()
    with pytest.raises(InputError, match="there is no such file; vqjax prepare, with the same --out"):
        datasets.load_splits(opened("prepared", path=path))
    prepare(opened(**fields), path, lambda *_: None)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_another_set_is_refused(made, tmp_path):
    path, _ = made
    folder(tmp_path / "others", 30, height=9)
    with pytest.raises(InputError, match="has another data set, or other images of it"):
        prepare(opened("folder", path=tmp_path / "others"), path, lambda *_: None)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear")
    with pytest.raises(InputError, match="is in use: expected an empty directory"):
        prepare(opened("folder", path=tmp_path / "others"), tmp_path / "mine", lambda *_: None)


def test_damage_is_refused(made):
    path, fields = made
    first = min(path.glob("train-*.array_record"))
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged|train-00000"):
        datasets.load_splits(opened("prepared", path=path))
    (path / "train-labels.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="train-labels.npy is damaged"):
        opened("prepared", path=path).labels("train")
    (path / "prepared.json").write_text("{")
    with pytest.raises(InputError, match="expected prepared.json of vqjax prepare"):
        opened("prepared", path=path)
    with pytest.raises(InputError, match="--out=.*: prepared.json cannot be read: .*\nDelete it"):
        prepare(opened(**fields), path, lambda *_: None)


@pytest.mark.parametrize(
    "field, value, message",
    [("oversize", 1.5, "a prepared image has one crop"), ("limit", 10, "expected 0, all images are prepared")],
)
def test_what_is_drawn_anew_is_refused(tmp_path, field, value, message):
    folder(tmp_path / "photos", 40)
    data = {"path": tmp_path / "photos", "size": "8", field: value}
    with pytest.raises(InputError, match=message):
        prepare(opened("folder", **data), tmp_path / "out", lambda *_: None)


def test_the_command(tmp_path, capsys):
    words = ["--config", "digits", "--out", str(tmp_path / "out")]
    assert main(["prepare", *words, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["sizes"] == {"train": 1437, "test": 360} and values["written"] == [str(tmp_path / "out")]
    found = opened("prepared", path=tmp_path / "out")
    np.testing.assert_array_equal(found.read("test").arrays["image"], opened("digits").read("test").arrays["image"])
