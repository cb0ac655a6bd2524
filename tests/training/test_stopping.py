"""Signals to a run, wherever they find it."""

import json
import signal

import pytest
from conftest import slow_but
from helpers import ENVIRONMENT, TINY, assert_same, read_until, saved, start

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


@pytest.mark.more
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


@pytest.mark.more
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has none")
def test_a_run_is_saved_on_request_and_goes_on(small_config, tmp_path, monkeypatch):
    save, kept = Checkpoints.save, []

    def save_and_tell(checkpoints, state, *arguments):
        kept.append(int(state.step))
        save(checkpoints, state, *arguments)

    monkeypatch.setattr(Checkpoints, "save", save_and_tell)
    ask = lambda step: step == 3 and signal.raise_signal(signal.SIGUSR1)  # noqa: E731
    assert loop.train(small_config, tmp_path, on_step=ask) == 0
    assert kept == [3, 4, 6]


PHASES = {"compiling": "compiling the step", "k-means": "first codes"}  # what stands in the log when it begins


@pytest.mark.more
@pytest.mark.parametrize("phase", ["compiling", pytest.param("k-means", marks=pytest.mark.slow)])
def test_where_there_is_nothing_to_save_a_run_ends_at_once(tmp_path, phase):
    """Also in the middle of a compilation, which takes no notice."""
    environment = {**ENVIRONMENT, "JAX_ENABLE_COMPILATION_CACHE": "0", "VQJAX_COMPILATION_CACHE": "0"}
    arguments = [*TINY, "--config.steps=20", "--config.model.deepmind.blocks=4"]
    process = start("train.py", "--config", "digits", "--workdir", tmp_path / "run", *arguments, env=environment)
    text = read_until(process, PHASES[phase])
    process.send_signal(signal.SIGTERM)
    text += process.communicate(timeout=10)[0]
    assert process.returncode == 143
    assert "stopped by SIGTERM" in text and "Traceback" not in text
