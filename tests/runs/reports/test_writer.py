"""Where figures go while a run is trained."""

import numpy as np
import pytest
from helpers import lines_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vqjax.runs import plots
from vqjax.runs.devices import processes
from vqjax.runs.reports.writer import Writer
from vqjax.runs.trackers import TRACKERS


class Recorded:
    """A tracker that remembers what it is told, or fails."""

    package = extra = "none"
    failing = ""

    def __init__(self, workdir, step):
        type(self).calls = []
        self.call("open", step)

    def call(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name == self.failing:
            raise ValueError(f"no {name}")

    def metrics(self, step, split, figures):
        self.call("metrics", step, split, figures)

    def picture(self, step, split, name, pixels):
        self.call("picture", step, split, name, pixels.shape)

    def histogram(self, step, split, name, frequency):
        self.call("histogram", step, split, name, len(frequency))

    def close(self, status):
        self.call("close", status)


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setitem(TRACKERS, "recorded", Recorded)
    yield Recorded
    Recorded.failing = ""


def write(workdir, status="finished"):
    plots.save_grid(workdir / "seen.png", np.zeros((2, 8, 8, 1)))
    (workdir / "config.json").write_text("{}")
    with Writer(workdir, 3, "recorded,tensorboard") as writer:
        writer.metrics(4, "train", {"loss": 0.5, "grad": float("nan")})
        writer.pictures(4, "test", [workdir / "seen.png", workdir / "missing.png"], np.full((2, 4), 0.25))
        writer.metrics(6, "test", {"loss": 0.25})
        writer.status = status


@pytest.mark.parametrize("status", ["finished", "stopped"])
def test_a_tracker_is_told_all(tmp_path, recorded, status):
    write(tmp_path, status)
    assert recorded.calls == [
        ("open", 3),
        ("metrics", 4, "train", {"loss": 0.5}),
        ("picture", 4, "test", "seen", (60, 118, 3)),
        ("histogram", 4, "test", "codes_1", 4),
        ("histogram", 4, "test", "codes_2", 4),
        ("metrics", 6, "test", {"loss": 0.25}),
        ("close", status),
    ]


@pytest.mark.parametrize("failing", ["open", "metrics", "picture", "histogram", "close"])
def test_a_tracker_that_fails_costs_a_line(tmp_path, recorded, failing, capsys):
    """And is told no more; the figures are written, to the other trackers too."""
    recorded.failing = failing
    write(tmp_path)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: recorded ") and line.endswith(f"ValueError: no {failing}")
    names = [name for name, *_ in recorded.calls]
    assert names.count(failing) == 1 and names.count("close") == (failing != "open")
    assert [line["step"] for line in lines_of(tmp_path / "metrics.jsonl")] == [4, 6]
    assert [event.step for event in events(tmp_path).Scalars("test/loss")] == [6]


def test_a_picture_that_cannot_be_read_costs_a_line(tmp_path, recorded, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with Writer(tmp_path, 0, "recorded") as writer:
        writer.pictures(1, "test", [tmp_path / "broken.png"], None)
        writer.metrics(1, "test", {"loss": 1.0})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: broken.png is in no tracker: UnidentifiedImageError: ")
    assert [name for name, *_ in recorded.calls] == ["open", "metrics", "close"]


def test_after_an_error_a_run_has_failed(tmp_path, recorded):
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path, 0, "recorded"):
        raise KeyboardInterrupt
    assert recorded.calls[-1] == ("close", "failed")


def test_only_the_leader_has_trackers(tmp_path, recorded, monkeypatch):
    monkeypatch.setattr("vqjax.runs.reports.writer.is_leader", lambda: False)
    assert processes.is_leader()
    recorded.calls = []
    write(tmp_path)
    assert recorded.calls == [] and not (tmp_path / "tensorboard").exists()


def events(workdir):
    return EventAccumulator(str(workdir / "tensorboard")).Reload()


def test_tensorboard_has_a_bin_for_each_code(tmp_path):
    frequency = np.array([0.5, 0, 0.25, 0.25])
    plots.save_grid(tmp_path / "seen.png", np.zeros((2, 8, 8, 1)))
    (tmp_path / "config.json").write_text("{}")
    with Writer(tmp_path, 0) as writer:
        writer.pictures(3, "test", [tmp_path / "seen.png"], frequency)
        writer.pictures(4, "test", [], None)
    (event,) = events(tmp_path).Histograms("test/codes")
    assert event.step == 3
    histogram = event.histogram_value
    np.testing.assert_allclose(histogram.bucket, frequency)
    np.testing.assert_allclose(histogram.bucket_limit, [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_allclose([histogram.min, histogram.max, histogram.num], [-0.5, 3.5, 1])
    np.testing.assert_allclose([histogram.sum, histogram.sum_squares], [1.25, 3.25])
    assert [image.step for image in events(tmp_path).Images("test/seen")] == [3]
