"""Sets that are decoded while they are used: the same images and the same batches, whatever decodes them."""

import itertools
import pickle
import threading

import numpy as np
import pytest
from sets import folder, opened, picture, save, tiny_tfds

from vqjax.data import datasets, streaming
from vqjax.data.batches import batches, evaluation_batches
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.training import loop


@pytest.fixture(params=["folder", "tfds/tiny"])
def where(request, tmp_path):
    """The fields that find a set."""
    if request.param == "folder":
        folder(tmp_path / "photos", 40, height=9, width=12)
        return {"name": "folder", "path": tmp_path / "photos"}
    tiny_tfds(tmp_path, splits=("train", "validation", "test"))
    return {"name": "tfds/tiny", "data_dir": str(tmp_path)}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_streamed_and_held_are_the_same(where):
    """Images, labels, splits, batches, the variance; also after the source has travelled."""
    held, streamed = (datasets.load_splits(opened(**where, validation=0.2, memory=size)) for size in (4.0, 0.0))
    assert held.keys() == streamed.keys()
    for name, split in streamed.items():
        assert split.streamed and not held[name].streamed and len(split) == len(held[name])
        assert split.arrays["image"].shape == held[name].arrays["image"].shape
        assert_equal({key: np.asarray(x) for key, x in split.arrays.items()}, held[name].arrays)
        assert_equal(
            {key: np.asarray(x) for key, x in pickle.loads(pickle.dumps(split)).arrays.items()}, held[name].arrays
        )
        for a, b in zip(evaluation_batches(split, 4), evaluation_batches(held[name], 4)):
            assert_equal(a, b)
        np.testing.assert_allclose(split.variance(), held[name].variance(), rtol=1e-12)
    for a, b in itertools.islice(zip(*(batches(each["train"], 7, 3, True, 2) for each in (streamed, held))), 9):
        assert_equal(a, b)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_the_processes(tmp_path, workers):
    """With random crops; and from any step on (R7)."""
    for i in range(30):
        save(tmp_path / f"{i}.png", picture(i, 20 + i, 30))
    fields = {"path": tmp_path, "size": "8", "memory": 0.0, "resized_crop": 0.3, "test": 0.3}
    without, other = (datasets.load_splits(opened("folder", workers=n, **fields))["train"] for n in (0, workers))
    expected = [*itertools.islice(batches(without, 5, 0, True), 14)]
    for start in (0, 9):
        stream = batches(other, 5, 0, True, start)
        for batch in expected[start:]:
            assert_equal(next(stream), batch)
        stream.close()
    flat = [image.tobytes() for batch in expected for image in batch["image"]]
    assert len({*flat}) == len(flat)  # each time another crop
    middle = datasets.load_splits(opened("folder", **{**fields, "resized_crop": 0.0}))["train"]
    np.testing.assert_array_equal(np.asarray(without.arrays["image"]), np.asarray(middle.arrays["image"]))


def test_held_larger_and_cut_at_random(where):
    """A quarter larger than they are used: any window in training, a function of the step; else the middle."""
    fields = {**where, "size": "8", "validation": 0.2}
    plain, cut = (datasets.load_splits(opened(**fields, oversize=oversize)) for oversize in (1.0, 1.25))
    larger = datasets.load_splits(opened(**{**fields, "size": "10"}))
    for name, split in cut.items():
        assert split.arrays["image"].shape == plain[name].arrays["image"].shape
        middle = larger[name].arrays["image"][:, 1:9, 1:9]
        np.testing.assert_array_equal(np.asarray(split.arrays["image"]), middle)
    stream, again = (batches(cut["train"], 1, 0, True, start) for start in (0, 3))
    whole = batches(larger["train"], 1, 0, True)
    corners = set()
    for step in range(60):
        image, wide = next(stream)["image"][0], next(whole)["image"][0]
        found = [(i, j) for i in range(3) for j in range(3) if (wide[i : i + 8, j : j + 8] == image).all()]
        assert found
        corners.update(found)
        if step >= 3:
            np.testing.assert_array_equal(next(again)["image"][0], image)
    assert len(corners) == 9


@pytest.mark.parametrize("fields", [{"size": "8", "memory": 0.0}, {"size": ""}])
def test_only_what_is_held_can_be_held_larger(tmp_path, fields):
    folder(tmp_path, 30)
    with pytest.raises(InputError, match="config.data.oversize=1.25: only of a set that is held in memory"):
        datasets.load_splits(opened("folder", path=tmp_path, oversize=1.25, **fields))


def test_the_batches_end_with_their_reader(tmp_path):
    folder(tmp_path, 30)
    stream = batches(datasets.load_splits(opened("folder", path=tmp_path, memory=0.0))["train"], 5, 0, True)
    next(stream)
    before = threading.active_count()
    stream.close()
    assert threading.active_count() <= before


def test_only_what_is_asked_for_is_decoded():
    class Source:
        shape, workers, decoded = (2, 2, 1), 0, []

        def decode(self, row, rng=None):
            self.decoded.append(row)
            return np.full(self.shape, row, np.uint8)

    source = Source()
    split = Split(image=streaming.LazyImages(source, np.arange(100)), label=np.arange(100))
    part = split[10:50]
    assert len(part) == 40 and source.decoded == []
    np.testing.assert_array_equal(part[np.array([3, 0])].arrays["image"][:, 0, 0, 0], [13, 10])
    assert sorted(source.decoded) == [10, 13]
    assert part.arrays["image"][1][0, 0, 0] == 11


def test_the_hash_of_a_streamed_set_is_of_its_listing(tmp_path):
    folder(tmp_path, 30)
    fields = {"path": tmp_path, "memory": 0.0}
    before = opened("folder", **fields).hash("train")
    assert before.startswith("files ") and before != opened("folder", **fields).hash("test")
    save(tmp_path / "ant" / "0.png", picture(0), optimize=True, compress_level=0)
    assert opened("folder", **fields).hash("train") != before or opened("folder", **fields).hash("test")


def test_a_file_that_is_gone_by_then_is_named(tmp_path):
    folder(tmp_path, 30)
    split = datasets.load_splits(opened("folder", path=tmp_path, memory=0.0))["train"]
    for path in (tmp_path / "ant").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="config.data.path: .*/ant/.*png: no such file"):
        np.asarray(split.arrays["image"])


@pytest.mark.more
def test_a_run_on_a_streamed_set(small_config, tmp_path):
    """Trains, says how long it waited, and gives what it gives when the set is held in memory."""
    folder(tmp_path / "photos", 60)
    for name, memory in (("streamed", 0.0), ("held", 4.0)):
        small_config.data.update({"name": "folder", "path": str(tmp_path / "photos"), "memory": memory})
        assert loop.train(small_config, tmp_path / name) == 0
    for file in ("metrics.jsonl", "eval.json"):
        assert (tmp_path / "streamed" / file).read_text() == (tmp_path / "held" / file).read_text()
    assert '"data_seconds": ' in (tmp_path / "streamed" / "timing.jsonl").read_text()
