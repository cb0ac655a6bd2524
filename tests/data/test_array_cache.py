"""Arrays that are kept between commands."""

import os
import shutil

import numpy as np
import pytest
from sets import mnist, opened

from vqjax.data import array_cache, datasets
from vqjax.data.sets import archives
from vqjax.system.files import atomic_directory


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VQJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def arrays():
    return {"image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1), "label": np.arange(2, dtype=np.int32)}


def counted(calls):
    return lambda: calls.append(1) or arrays()


def assert_arrays(found):
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_made_once(cache):
    calls = []
    first, second = (array_cache.cached_arrays("key", counted(calls)) for _ in range(2))
    assert calls == [1] and first[1] == second[1]
    for found, _ in (first, second):
        assert_arrays(found)
        assert isinstance(found["image"].base, np.memmap) and not found["image"].flags.writeable
    array_cache.cached_arrays("other", counted(calls))
    assert calls == [1, 1] and [path.name[0] for path in cache.iterdir() if path.name[0] == "."] == []


@pytest.mark.parametrize("damage", ["truncate", "delete", "meta", "format", "exchange"])
def test_what_is_not_whole_is_made_again(cache, damage):
    calls = []
    array_cache.cached_arrays("key", counted(calls))
    place = next(cache.iterdir())
    {
        "truncate": lambda: (place / "image.npy").write_bytes((place / "image.npy").read_bytes()[:-1]),
        "delete": (place / "label.npy").unlink,
        "meta": lambda: (place / "meta.json").write_text("{"),
        "format": lambda: (place / "meta.json").write_text('{"format": 0}'),
        "exchange": lambda: np.save(place / "label.npy", np.zeros((2, 2), np.int16)),
    }[damage]()
    for _ in range(2):
        assert_arrays(array_cache.cached_arrays("key", counted(calls))[0])
    assert calls == [1, 1]


def test_where_nothing_can_be_written(cache, capsys):
    cache.write_text("a file")
    calls = []
    found = [array_cache.cached_arrays("key", counted(calls)) for _ in range(2)]
    assert calls == [1, 1] and found[0][1] == found[1][1]
    assert_arrays(found[1][0])
    assert capsys.readouterr() == ("", "")


def test_what_a_process_left_behind_that_was_killed_is_removed(cache):
    array_cache.cached_arrays("key", arrays)
    (place,) = cache.iterdir()
    with atomic_directory(cache / "other") as temporary:
        name = temporary.name.replace("other", place.name).replace(f"tmp{os.getpid()}", f"tmp{2**30}")
    (cache / "other").rmdir()
    place.rename(cache / name)  # there is no such process
    assert_arrays(array_cache.cached_arrays("key", arrays)[0])
    assert [*cache.iterdir()] == [place]


def test_a_full_disk_leaves_nothing_behind(cache, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    assert_arrays(array_cache.cached_arrays("key", arrays)[0])
    assert [*cache.iterdir()] == []


def test_where_it_lies(monkeypatch, tmp_path):
    for name, place in (("XDG_CACHE_HOME", "vqjax/data"), ("VQJAX_CACHE", "")):
        monkeypatch.delenv("VQJAX_CACHE", raising=False)
        monkeypatch.setenv(name, str(tmp_path))
        assert array_cache.cache_directory() == tmp_path / place
    monkeypatch.delenv("VQJAX_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert array_cache.cache_directory() == tmp_path / ".cache" / "vqjax" / "data"


def test_the_hash_is_of_names_shapes_dtypes_and_values():
    one = arrays()
    changed = [
        {**one, "label": one["label"][::-1]},
        {**one, "label": one["label"].astype(np.int64)},
        {**one, "image": one["image"].reshape(2, 4, 3, 1)},
        {"image": one["image"], "labels": one["label"]},
    ]
    assert len({array_cache.hash_arrays(each) for each in [one, *changed]}) == 5
    assert array_cache.hash_arrays(
        {"label": one["label"], "image": np.asfortranarray(one["image"])}
    ) == array_cache.hash_arrays(one)


def test_a_set_is_decoded_once(cache, tmp_path, monkeypatch):
    """Also by the next command; unless it is to be decoded each time, or its files have been changed."""
    expected = mnist(tmp_path / "mnist")
    read, calls = archives._idx_array, []
    monkeypatch.setattr(archives, "_idx_array", lambda file: calls.append(file.name) or read(file))

    def again(**data):
        calls.clear()
        found = opened("mnist", path=tmp_path / "mnist", **data)
        np.testing.assert_array_equal(found.read("test").arrays["image"], expected["test"][0])
        return len(calls), found.hash("train")

    first, second, without = again(), again(), again(cache=False)
    assert [count for count, _ in (first, second, without)] == [4, 0, 4]
    assert len({digest for _, digest in (first, second, without)}) == 1
    later = 1e9
    os.utime(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz", (later, later))
    assert again()[0] == 4
    shutil.rmtree(cache)
    assert again()[0] == 4


def test_nothing_is_kept_of_what_comes_with_a_package(cache):
    datasets.load_splits(opened("digits"))
    assert not cache.exists()
