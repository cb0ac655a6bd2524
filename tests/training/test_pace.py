"""The end of a long run is estimated from its first steps."""

import re
import time

import jax.numpy as jnp
import pytest

from vqjax.training import loop, pace
from vqjax.training.pace import Pace


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets, in seconds since midnight of 2026-01-02 by UTC."""
    now = {"seconds": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["seconds"])
    monkeypatch.setattr(time, "time", lambda: 1_767_312_000 + now["seconds"])
    monkeypatch.setattr(time, "localtime", time.gmtime)
    return now


def lines(clock, steps, seconds, first=0, at_a_time=1, evaluation=None):
    """What is said in 100 steps of so many seconds each; an evaluation of an hour comes after a step."""
    timed, said = Pace(steps), []
    for step in range(first + at_a_time, first + 101, at_a_time):
        clock["seconds"] += seconds * at_a_time if said or step > first + at_a_time else 100  # the first one compiles
        said.append((step, timed.after(step, {"loss": jnp.zeros(())})))
        if step == evaluation:
            clock["seconds"] += 3600
            timed.exclude(3600)
    return [(step, line) for step, line in said if line]


def test_by_hand(clock):
    """Step 1 ends after 100 s; the 50 after it take 200 s, and 999,949 more of 4 s 1,111.1 hours."""
    ((step, line),) = lines(clock, 1_000_000, 4.0)
    assert step == 51
    assert line.startswith("50 steps took 200 s: the 999,949 that are left take about 1,111.1 hours, to ")
    assert "to 2026-02-17 07:08; " in line  # 300 s and 46 days, 7 hours, 3 minutes after midnight


def test_a_run_that_goes_on_counts_what_is_left(clock):
    ((step, line),) = lines(clock, 10_000, 4.0, first=9_000 - 51)
    assert step == 9_000 and "the 1,000 that are left take about 1.1 hours" in line


def test_several_steps_in_a_call(clock):
    ((step, line),) = lines(clock, 100_000, 1.0, at_a_time=20)
    assert step == 80 and line.startswith("60 steps took 60 s")


def test_an_evaluation_does_not_count(clock):
    ((_, line),) = lines(clock, 1_000_000, 4.0, evaluation=25)
    assert line.startswith("50 steps took 200 s")


@pytest.mark.parametrize("steps, said", [(3_600, False), (3_651, False), (3_652, True)])
def test_a_run_of_less_than_an_hour_has_no_line(clock, steps, said):
    assert bool(lines(clock, steps, 1.0)) == said


@pytest.mark.more
def test_train_says_it_once(small_config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pace, "_LONG", 0)
    small_config.update({"steps": 120, "log_every": 60, "eval_every": 60, "save_every": 120})
    assert loop.train(small_config, tmp_path / "run") == 0
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    (end,) = re.findall(r"50 steps took [\d.]+ s: the 69 that are left take about 0.0 hours, to ([-\d]+ [:\d]+);", said)
    assert abs(time.mktime(time.strptime(end, "%Y-%m-%d %H:%M")) - time.time()) < 300
