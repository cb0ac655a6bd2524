"""Where the time of a run goes: by phase, and in a trace."""

import gzip
import json
import time

import pytest
from helpers import lines_of

import vqjax
from vqjax.runs.reports.lines import phase_seconds
from vqjax.training import loop, profiling
from vqjax.training.clock import PHASES, Clock


def test_each_second_belongs_to_one_phase(monkeypatch):
    """By hand: 1 s of steps, twice 2 s of saving, 4 s of evaluation."""
    seconds = iter([0, 1, 3, 3, 5, 5, 9, 9, 9, 20, 20])
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(seconds)))
    clock = Clock()
    for phase in ("save", "save", "evaluation"):
        with clock.spending(phase):
            pass
    assert clock.spent() == {"data": 0, "step": 1, "evaluation": 4, "save": 4} and clock.training == 5
    clock.restart()
    assert not any(clock.spent().values())


@pytest.mark.slow
def test_a_run_with_a_trace_is_the_run_and_its_time_is_told(small_config, tmp_path, capsys):
    assert loop.train(small_config, tmp_path / "plain") == 0 and not (tmp_path / "plain" / "profile").exists()
    said = capsys.readouterr().out
    for phase, took in phase_seconds(tmp_path / "plain").items():
        assert f"{phase} {took:,.1f} s" in said and took > 0
    assert {*phase_seconds(tmp_path / "plain")} == {*PHASES}
    for line in lines_of(tmp_path / "plain" / "timing.jsonl"):
        assert abs(line["seconds"] - sum(line[f"{phase}_seconds"] for phase in PHASES if phase != "evaluation")) < 1e-3
        assert line["images_per_second"] > 0
    assert loop.train(small_config, tmp_path / "traced", profile=2) == 0
    assert "profile of 2 steps, " in capsys.readouterr().out
    (trace,) = (tmp_path / "traced" / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert {event["args"]["step_num"] for event in events if event.get("name") == "step"} == {"3", "4"}
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("plain", "traced")]
    assert metrics[0] == metrics[1]


def test_fewer_steps_than_are_asked_for(tmp_path, capsys):
    for calls, message in ((2, "no profile: "), (5, "profile of 2 steps, ")):
        with profiling.profiled(lambda state, batch: (state, batch), tmp_path, 9) as update:
            for _ in range(calls):
                update(1, 2)
        assert message in capsys.readouterr().out


def test_fewer_steps_than_none_are_refused(small_config, tmp_path):
    with pytest.raises(ValueError, match="^profile=-1: expected at least 0"):
        vqjax.train(small_config, tmp_path / "run", profile=-1)
    assert not (tmp_path / "run").exists()
