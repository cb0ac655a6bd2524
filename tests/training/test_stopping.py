"""Signals to a run, wherever they find it."""

import json
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, slow_but
from helpers import ENVIRONMENT, TINY, assert_same, saved

from vqjax.runs.accumulator import MetricsAccumulator
from vqjax.runs.checkpoints import Checkpoints
from vqjax.training import evaluation, loop


def signal_in(monkeypatch, batch):
    """SIGTERM comes before the evaluation batch of that number, counted over all evaluations of the next run."""
    whole, seen = evaluation.evaluation_batches, []

    def batches(*arguments):
        for each in whole(*arguments):
            seen.append(each)
            if len(seen) == batch:
                signal.raise_signal(signal.SIGTERM)
            yield each

    monkeypatch.setattr(evaluation, "evaluation_batches", batches)


@pytest.mark.parametrize("validation", slow_but(0.2, [0.2, 0.0]))
def test_an_evaluation_is_left_and_made_when_the_run_goes_on(small_config, tmp_path, monkeypatch, validation):
    """The step before it is saved; in the end all is as in a run that nothing stopped, the best step included."""
    small_config.data.validation = validation
    small_config.update({"steps": 8, "eval_every": 2, "save_every": 100})
    assert loop.train(small_config, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        signal_in(patch, 2)
        assert loop.train(small_config, tmp_path / "cut") == 143
    assert saved(tmp_path / "cut")[0] == 2
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == ["train"]
    assert loop.train(small_config, tmp_path / "cut") == 0
    assert_same(saved(tmp_path / "cut"), saved(tmp_path / "whole"))
    for name in ("metrics.jsonl", "eval.json"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text(), name
    with Checkpoints(tmp_path / "cut" / "checkpoints") as cut, Checkpoints(tmp_path / "whole" / "checkpoints") as whole:
        assert cut.best_or_latest == whole.best_or_latest


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has none")
def test_a_run_is_saved_on_request_and_goes_on(small_config, tmp_path, monkeypatch):
    add, save, taken, kept = MetricsAccumulator.add, Checkpoints.save, [], []

    def add_and_ask(window, metrics, count):
        add(window, metrics, count)
        taken.append(metrics)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGUSR1)

    def save_and_tell(checkpoints, state, *arguments):
        kept.append(int(state.step))
        save(checkpoints, state, *arguments)

    monkeypatch.setattr(MetricsAccumulator, "add", add_and_ask)
    monkeypatch.setattr(Checkpoints, "save", save_and_tell)
    assert loop.train(small_config, tmp_path) == 0
    assert kept == [3, 4, 6]


PHASES = {"compiling": "compiling the step", "k-means": "first codes"}  # what stands in the log when it begins


@pytest.mark.parametrize("phase", ["compiling", pytest.param("k-means", marks=pytest.mark.slow)])
def test_where_there_is_nothing_to_save_a_run_ends_at_once(tmp_path, phase):
    """Also in the middle of a compilation, which takes no notice."""
    environment = {**ENVIRONMENT, "JAX_ENABLE_COMPILATION_CACHE": "0", "VQJAX_COMPILATION_CACHE": "0"}
    arguments = [*TINY, "--config.steps=20", "--config.model.deepmind.blocks=4"]
    command = [sys.executable, "train.py", "--config", "configs/digits.py", "--workdir", str(tmp_path / "run")]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([*command, *arguments], cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 240
        while PHASES[phase] not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    text = (tmp_path / "log").read_text()
    assert "stopped by SIGTERM" in text and "Traceback" not in text
