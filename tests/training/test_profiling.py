"""Where the time of a run goes: by phase, and in a trace."""

import gzip
import json
import time

import pytest
from helpers import lines_of

from vqjax.runs.reports.lines import phase_seconds
from vqjax.training import loop, profiling
from vqjax.training.clock import PHASES, Clock


def test_each_second_belongs_to_one_phase():
    clock, since = Clock(), time.perf_counter()
    time.sleep(0.01)
    for _ in range(2):
        with clock.spending("save"):
            time.sleep(0.01)
    spent, took = clock.spent(), time.perf_counter() - since
    assert spent["save"] >= 0.02 and spent["step"] >= 0.01 and spent["data"] == spent["evaluation"] == 0
    assert abs(sum(spent.values()) - took) < 0.01
    clock.restart()
    assert sum(clock.spent().values()) < 0.01


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
