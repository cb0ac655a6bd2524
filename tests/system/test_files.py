"""Files that appear whole: JSON, and links in their way."""

import json

import numpy as np

from vqjax.system.files import atomic_directory, atomic_write, read_json, to_json, write_json


def test_numbers_that_are_not_finite_become_null(tmp_path):
    value = {
        "a": float("nan"),
        "b": [1.5, float("inf"), (np.float64("-inf"), "nan")],
        "c": {"d": 3, "e": None, "f": True},
    }
    write_json(tmp_path / "figures.json", value)
    expected = {"a": None, "b": [1.5, None, [None, "nan"]], "c": {"d": 3, "e": None, "f": True}}
    assert read_json(tmp_path / "figures.json") == json.loads(to_json(value)) == expected


def test_links_are_not_followed(tmp_path):
    """Neither one at the path of a file, nor one at its temporary name, nor one at that of a directory."""
    (workdir := tmp_path / "run").mkdir()
    (mine := tmp_path / "mine.txt").write_text("mine")
    (photos := tmp_path / "photos").mkdir()
    with atomic_write(workdir / "run.json") as temporary, atomic_directory(workdir / "out") as directory:
        names = temporary.name, directory.name
        temporary.touch()
    (workdir / "run.json").unlink()
    (workdir / "out").rmdir()
    for name, target in zip(("run.json", *names), (mine, mine, photos)):
        (workdir / name).symlink_to(target)
    write_json(workdir / "run.json", {"a": 1})
    with atomic_directory(workdir / "out") as temporary:
        (temporary / "a.txt").write_text("a")
    assert mine.read_text() == "mine" and not [*photos.iterdir()]
    assert read_json(workdir / "run.json") == {"a": 1} and not (workdir / "run.json").is_symlink()
    assert (workdir / "out" / "a.txt").read_text() == "a"
    assert {path.name for path in workdir.iterdir()} == {"run.json", "out"}
