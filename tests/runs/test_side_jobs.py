"""Side jobs: one that fails costs a line, never the run."""

import errno
from pathlib import Path

import pytest
from conftest import fake
from helpers import HOSTILE, lines_of
from matplotlib.figure import Figure
from PIL import Image

from vqjax.data import datasets
from vqjax.runs.side_jobs import side_job
from vqjax.system.files import WriteError
from vqjax.system.signals import Stopped
from vqjax.training import loop


@pytest.mark.parametrize(
    "error, reason",
    [
        (ValueError("no such\ncolor"), "ValueError: no such"),
        (OSError(errno.ENOENT, "gone"), "FileNotFoundError: [Errno 2] gone"),
        (RecursionError(), "RecursionError"),
        (KeyError("\udc80\x07" * 1000), r"KeyError: '\udc80\x07"),
        (UserWarning("Glyph 23546 missing"), "UserWarning: Glyph 23546 missing"),
    ],
)
def test_an_error_is_a_line(capsys, error, reason):
    with side_job("curves.png is not drawn"):
        raise error
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"warning: curves.png is not drawn: {reason}") and len(line) <= 300


@pytest.mark.parametrize(
    "error", [WriteError(Path("a"), OSError(errno.ENOSPC, "full")), Stopped(), KeyboardInterrupt()]
)
def test_a_full_disk_and_a_signal_are_none(error, capsys):
    with pytest.raises(type(error)), side_job("curves.png is not drawn"):
        raise error
    assert not capsys.readouterr().out


def test_it_decorates_functions(capsys):
    @side_job("report.md is not written")
    def write(text):
        written.append(text)
        raise ValueError

    written = []
    for text in "ab":
        write(text)
    assert written == ["a", "b"]
    assert capsys.readouterr().out == 2 * "warning: report.md is not written: ValueError\n"


@pytest.mark.more
def test_a_classifier_of_classes_of_any_names_trains_and_draws_them(classifier_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(datasets.DATASETS, "digits", fake((8, 8, 1), HOSTILE))
    assert loop.train(classifier_config, tmp_path) == 0
    output = capsys.readouterr()
    assert "warning" not in output.out and "Glyph" not in output.err
    for name in ("confusion.png", "predictions.png", "curves.png", "report.md"):
        assert (tmp_path / name).is_file(), name


@pytest.mark.more
def test_a_run_in_which_nothing_can_be_drawn_is_the_same_run(small_config, tmp_path, monkeypatch, capsys):
    assert loop.train(small_config, tmp_path / "whole") == 0
    capsys.readouterr()

    def fail(*_, **__):
        raise RuntimeError("no pictures today")

    monkeypatch.setattr(Figure, "savefig", fail)
    monkeypatch.setattr(Image.Image, "save", fail)
    monkeypatch.setattr("tensorboardX.summary.scalar", fail)
    assert loop.train(small_config, tmp_path / "bare") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert all(line.endswith(": RuntimeError: no pictures today") for line in lines)
    names = {line.split()[1] for line in lines}
    assert {"curves.png", "codebook.png", "reconstructions.png", "tensorboard"} <= names
    assert not [*(tmp_path / "bare").glob("*.png")]
    for name in ("metrics.jsonl", "eval.json"):
        assert (tmp_path / "bare" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert lines_of(tmp_path / "bare" / "metrics.jsonl")[-1]["step"] == small_config.steps
