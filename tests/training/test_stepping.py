"""Several steps in a call, as on an accelerator, are those that a batch from the host takes."""

import numpy as np
import pytest
from conftest import slow_but
from helpers import assert_close, assert_same, lines_of, saved, stop_after

from vqjax.data.splits import Split
from vqjax.runs.devices import PARALLEL
from vqjax.training import beginning, loop, stepping

CONFIGS = slow_but("small_config", ["small_config", "prior_config", "classifier_config", "code_classifier_config"])


@pytest.fixture
def on_devices(monkeypatch):
    """The data lie on the devices, though these are a CPU's; a call takes three steps at most."""
    monkeypatch.setattr(beginning, "fits_on_device", lambda split, state: True)
    monkeypatch.setattr(stepping, "_MAX_STEPS", 3)


@pytest.fixture(params=CONFIGS)
def config(request):
    """A run of each task, with augmentation where it has any; a line after every 5 steps, and an end in between."""
    config = request.getfixturevalue(request.param)
    config.update({"steps": 12, "log_every": 5, "eval_every": 10, "save_every": 4})
    config.data.update({name: value for name, value in (("flip", True), ("crop", 1)) if name in config.data})
    return config


def figures(workdir):
    """Step by step, what was logged."""
    return [{**line, "split": None} for line in lines_of(workdir / "metrics.jsonl")]


@pytest.mark.more
def test_a_run_is_the_same(config, on_devices, tmp_path, monkeypatch):
    """The order of the data, the lines, the checkpoints and the state, on eight devices; `on_step` hears of all."""
    several, single = [], []
    assert loop.train(config, tmp_path / "devices", on_step=several.append) == 0
    monkeypatch.undo()
    assert loop.train(config, tmp_path / "host", on_step=single.append) == 0
    assert several == [3, 4, 5, 8, 10, 12] and single == [*range(1, 13)]
    a, b = figures(tmp_path / "devices"), figures(tmp_path / "host")
    assert [line["step"] for line in a] == [line["step"] for line in b]
    assert_close(a, b, 1e-4)
    (step, one), (same, other) = saved(tmp_path / "devices"), saved(tmp_path / "host")
    assert step == same == 12
    assert_close(one["model"], other["model"], 1e-4)


@pytest.mark.more
@pytest.mark.parametrize("parallel", slow_but("pmap", PARALLEL))
def test_a_resumed_run_is_bit_identical(small_config, on_devices, tmp_path, parallel):
    """Wherever a signal stopped it: another number of steps in a call is no other program."""
    small_config.update({"steps": 12, "log_every": 4, "eval_every": 12, "save_every": 12, "parallel": parallel})
    assert loop.train(small_config, tmp_path / "whole") == 0
    assert loop.train(small_config, tmp_path / "stopped", on_step=stop_after(4)) == 128 + 15
    small_config.log_every = 5
    assert loop.train(small_config, tmp_path / "stopped") == 0
    assert_same(saved(tmp_path / "stopped")[1]["model"], saved(tmp_path / "whole")[1]["model"])
    assert_same(saved(tmp_path / "stopped")[1]["optimizer"], saved(tmp_path / "whole")[1]["optimizer"])


def test_what_is_kept_on_the_devices(monkeypatch):
    """A split that is read whole and fits in a quarter of the memory that is free beside the state; on a CPU none."""
    split = Split(image=np.zeros((10, 4), np.uint8))
    state = {"kernel": np.zeros((2, 3), np.float32)}
    assert not stepping.fits_on_device(split, state)
    monkeypatch.setattr(stepping, "on_cpu", lambda: False)
    for free, kept in ((183, False), (184, True)):
        device = type("Device", (), {"memory_stats": lambda self, free=free: {"bytes_limit": free}})()
        monkeypatch.setattr(stepping.jax, "local_devices", lambda device=device: [device])
        assert stepping.fits_on_device(split, state) is kept
