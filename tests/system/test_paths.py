"""Every path that a user gives: `~`, relative paths, and text that is no path of this machine."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import dataset_of

import vqjax
from vqjax.__main__ import COMMANDS
from vqjax.data.sets.base import require_path
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path, output_path
from vqjax.training import loop

NONE = ("gs://x", "s3://x", "http://host/x", "file:///x", Path("gs://x"), "a\0b", "~no-such-user/x")

# command -> its arguments, less one path, by the flag that names it
PATHS = {
    "train": {
        "--workdir": ["--config", "digits"],
        "--config": [],
        "--config.init_from": ["--config", "digits", "--workdir", "new"],
        "--config.data.path": ["--config", "folder", "--workdir", "new"],
        "--config.data.data_dir": ["--config", "mnist", "--workdir", "new"],
        "--config.stage1": ["--config", "digits_prior", "--workdir", "new"],
    },
    "ablate": {"--workdir": ["--config", "ablation/digits"]},
    "inspect": {"--config.data.path": ["--config", "folder"], "--workdir": ["--config", "digits"]},
    "prepare": {"--out": ["--config", "digits"], "--config.data.path": ["--config", "folder", "--out", "x"]},
    "devices": {},  # it names no path
    "plan": {
        "--config": ["--device", "a100"],
        "--config.data.path": ["--config", "folder", "--device", "a100"],
        "--config.stage1": ["--config", "digits_prior", "--device", "a100"],
        "--stage1_config": ["--config", "digits_prior", "--device", "a100"],
    },
    "evaluate": {"--workdir": [], "--data_dir": ["--workdir", "RUN"], "--data_path": ["--workdir", "RUN"]},
    "sample": {"--workdir": []},
    "explore": {"--workdir": [], "--out": ["--workdir", "RUN"], "--data_dir": ["--workdir", "RUN", "--out", "x.html"]},
    "decode": {
        "--workdir": ["--codes", "c.npy", "--out", "x"],
        "--codes": ["--workdir", "RUN", "--out", "x"],
        "--out": ["--codes", "c.npy", "--workdir", "RUN"],
    },
    "export": {
        "--workdir": ["codes", "--out", "x"],
        "--out": ["codes", "--workdir", "RUN"],
        "--data_path": ["codes", "--workdir", "RUN", "--out", "x"],
    },
    "predict": {"--workdir": ["x.png"]},
    "reconstruct": {"--workdir": ["x.png"], "--out": ["x.png", "--workdir", "RUN"]},
    "convert": {"--out": ["vq-vae-images", "x.pth"]},
    "record": {"--out": ["--game", "boxing"]},
    "compare": {"--out": ["RUN", "x"]},
}


def test_local_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert (
        absolute_path("~/a", "--out")
        == absolute_path("a", "--out")
        == absolute_path(Path("a"), "--out")
        == tmp_path / "a"
    )
    assert absolute_path(tmp_path / "~" / "a", "--out") == tmp_path / "~" / "a"  # twice is as once
    assert absolute_path("C:/a", "--out") == tmp_path / "C:" / "a"  # a drive, of one letter


@pytest.mark.parametrize("path", NONE, ids=repr)
def test_addresses_and_other_text_that_is_no_path_are_refused(path):
    with pytest.raises(InputError, match="--out=.*: expected a path"):
        absolute_path(path, "--out")


def test_every_command_is_covered():
    assert {*PATHS} == {*COMMANDS}


@pytest.mark.parametrize("command, flag", [(command, flag) for command, flags in PATHS.items() for flag in flags])
def test_an_address_is_refused_by_every_flag(command, flag, trained_stage1, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module("vqjax.__main__").main
    rest = [str(trained_stage1) if word == "RUN" else word for word in PATHS[command][flag]]
    before = {path: path.stat().st_mtime_ns for path in trained_stage1.rglob("*")}
    with pytest.raises(InputError, match=r"gs:/+bucket/x: expected a path of this machine") as refused:
        main([command, *rest, f"{flag}=gs://bucket/x"])
    assert flag.replace("--config.", "config.") in str(refused.value)
    assert not [*tmp_path.iterdir()] and {path: path.stat().st_mtime_ns for path in trained_stage1.rglob("*")} == before


@pytest.mark.parametrize("use", [vqjax.load, Workdir, lambda path: loop.train(None, path)])
def test_from_python_too(use):
    with pytest.raises(InputError, match="workdir=gs://x: expected a path"):
        use("gs://x")


@pytest.mark.slow
def test_the_home_directory_works_everywhere(small_config, tmp_path, monkeypatch):
    """A shell leaves `~` as it is in --workdir=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path))
    small_config.update({"steps": 2})
    small_config.data.update({"name": "arrays", "path": "~/images.npz"})
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", image=rng.integers(0, 256, (96, 8, 8, 1), np.uint8), label=np.arange(96) % 3)
    assert loop.train(small_config, "~/run") == 0
    assert Workdir("~/run").config().data.path == str(tmp_path / "images.npz") and not os.path.exists("~")
    assert vqjax.load("~/run").step == 2
    data = dataset_of(small_config).data
    assert require_path(data, False, "") == Path(data.path) == tmp_path / "images.npz"


@pytest.mark.parametrize(
    "out, beside, message",
    [
        ("a.jpg", (), "--out=.*a.jpg: expected a path that ends in .png, in a directory that exists"),
        ("no/a.png", (), "--out=.*a.png: expected a path that ends in .png, in a directory that exists"),
        ("folder.png", (), "--out=.*folder.png: expected a file that can be written, folder.png"),
        ("a.png", (".csv",), "--out=.*a.png: expected files that can be written, a.png and a.csv"),
        ("locked/a.png", (), "--out=.*a.png: expected a file that can be written, a.png"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch, out, beside, message):
    for name in ("folder.png", "a.csv", "locked"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    with pytest.raises(InputError, match=f"^{message}"):
        output_path(tmp_path / out, ".png", beside)
    assert output_path(tmp_path / "a.png", ".png", (".npz",)) == tmp_path / "a.png"
