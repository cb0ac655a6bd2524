"""Runs that are stopped, and go on."""

import json
import signal

import pytest
from conftest import CODED, several_codebooks, slow_but
from helpers import TINY, assert_same, lines_of, read_until, saved, session_of, start, stop_after, train

from vqjax import tasks
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.introduction import describe_schedule_change


@pytest.mark.parametrize("quantizer", slow_but("ema", CODED))
def test_a_resumed_run_is_bit_identical(small_config, tmp_path, quantizer):
    """12 steps at once against 4 + 8, cut at a save, and 5 + 7, cut in the middle of a logging window."""
    small_config.steps = 12
    small_config.model.quantizer = quantizer
    small_config.optimizer.schedule = "cosine"
    small_config.data.update({"flip": True, "crop": 1})
    if "dead_code_threshold" in small_config.model[quantizer]:
        small_config.model[quantizer].dead_code_threshold = 0.9
    assert loop.train(small_config, tmp_path / "whole") == 0
    for cut in (4, 5):
        assert loop.train(small_config, tmp_path / str(cut), on_step=stop_after(cut)) == 143
        assert saved(tmp_path / str(cut))[0] == cut
        assert loop.train(small_config, tmp_path / str(cut)) == 0
        assert_same(saved(tmp_path / "whole"), saved(tmp_path / str(cut)))
        whole, resumed = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", str(cut)))
        assert whole == resumed


@pytest.mark.more
@pytest.mark.parametrize("codes", ["residual", "hierarchical"])
def test_a_resumed_run_with_several_codebooks_is_bit_identical(small_config, tmp_path, codes):
    """5 steps at once against 3 + 2, with restarts; stopped before an evaluation, which would take longer."""
    several_codebooks(small_config, codes)
    small_config.update({"eval_every": 6, "save_every": 6})
    small_config.model.ema.dead_code_threshold = 0.9
    assert loop.train(small_config, tmp_path / "whole", on_step=stop_after(5)) == 143
    for step in (3, 5):
        assert loop.train(small_config, tmp_path / "cut", on_step=stop_after(step)) == 143
        assert saved(tmp_path / "cut")[0] == step
    assert_same(saved(tmp_path / "whole"), saved(tmp_path / "cut"))
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == (tmp_path / "cut" / "metrics.jsonl").read_text()


LONG = [*TINY, "--config.steps=2000"]
LONG += [f"--config.{name}={steps}" for name, steps in (("log_every", 500), ("eval_every", 2000), ("save_every", 2000))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of LONG that nothing stopped."""
    workdir = tmp_path_factory.mktemp("long") / "whole"
    assert train(workdir, *LONG).returncode == 0
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_last_step_and_the_run_goes_on(undisturbed, tmp_path, number):
    """Stopped wherever it was, then finished: the same files as a run that was not stopped."""
    process = start("train.py", "--config", "digits", "--workdir", tmp_path / "cut", *LONG)
    read_until(process, "step 500:")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number and f"stopped by {number.name}" in said
    step, _ = saved(tmp_path / "cut")
    assert 500 <= step < 2000
    assert train(tmp_path / "cut", *LONG).returncode == 0
    assert_same(saved(tmp_path / "cut"), saved(undisturbed))
    assert (tmp_path / "cut" / "metrics.jsonl").read_text() == (undisturbed / "metrics.jsonl").read_text()


@pytest.mark.more
@pytest.mark.parametrize(
    "damaged", ["model", *(pytest.param(name, marks=pytest.mark.slow) for name in ("optimizer", "metrics"))]
)
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(small_config, tmp_path, capsys, damaged):
    """And no more: the run then ends as it would have."""
    small_config.data.validation = 0.2
    small_config.update({"steps": 6, "eval_every": 2, "save_every": 2})
    assert loop.train(small_config, tmp_path / "run") == 0
    whole, figures = saved(tmp_path / "run"), (tmp_path / "run" / "metrics.jsonl").read_text()
    for path in (tmp_path / "run" / "checkpoints" / "6" / damaged).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    (tmp_path / "run" / "eval.json").unlink()
    assert loop.train(small_config, tmp_path / "run") == 0
    assert_same(saved(tmp_path / "run"), whole)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == figures
    assert "set aside as 6.corrupt-" in (output := capsys.readouterr().out) and "going on from step 4" in output


def test_a_signal_in_the_last_step_is_not_forgotten(small_config, tmp_path):
    """The step is saved, and whoever runs several is told to stop; the same command makes the evaluation."""
    small_config.steps = 4
    assert loop.train(small_config, tmp_path, on_step=stop_after(4)) == 143
    assert saved(tmp_path)[0] == 4 and not (tmp_path / "eval.json").exists()
    assert loop.train(small_config, tmp_path) == 0
    assert saved(tmp_path)[0] == 4 and (tmp_path / "eval.json").exists()


def test_a_damaged_eval_json_is_made_again(small_config, tmp_path):
    small_config.steps = 4
    assert loop.train(small_config, tmp_path) == 0
    whole = (tmp_path / "eval.json").read_text()
    (tmp_path / "eval.json").write_text(whole[:50])
    assert loop.train(small_config, tmp_path) == 0
    assert (tmp_path / "eval.json").read_text() == whole


@pytest.mark.more
def test_lines_after_the_checkpoint_are_cut_off(small_config, tmp_path, capsys):
    """After a SIGKILL there may be figures of steps that were lost, and half a line."""
    small_config.steps = 4
    loop.train(small_config, tmp_path)
    good = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(good + '{"step": 5, "split": "train"}\n{"step": 6, "spl')
    small_config.steps = 6
    loop.train(small_config, tmp_path)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.startswith(good)
    assert [line["step"] for line in lines_of(tmp_path / "metrics.jsonl")] == [2, 4, 4, 6, 6]
    assert "step 4 is 67% of the run, and was 100%: schedules go on from there" in capsys.readouterr().out


@pytest.mark.more
def test_the_best_checkpoint_on_validation_is_evaluated_and_used_by_later_stages(small_config, tmp_path):
    small_config.data.validation = 0.2
    small_config.update({"steps": 40, "eval_every": 4, "log_every": 20, "save_every": 40})
    # A rate that rises until it destroys what was learned, so that the best step is not the last.
    small_config.optimizer.update(
        {"name": "adam", "learning_rate": 3e-3, "schedule": "exponential", "final_learning_rate": 30.0}
    )
    loop.train(small_config, tmp_path)
    scores = {
        line["step"]: line["mse"] for line in lines_of(tmp_path / "metrics.jsonl") if line["split"] == "validation"
    }
    best = min(scores, key=scores.get)
    figures = json.loads((tmp_path / "eval.json").read_text())
    assert len(scores) == 10 and best != 40
    assert figures["step"] == best and figures["split"] == "test"
    expected = tasks.load_task(Workdir(tmp_path)).abstract_variables
    assert_same(Stage1(tmp_path).variables, Workdir(tmp_path).restore_variables(expected, best)[1])


def test_what_more_steps_do_to_the_learning_rate_is_said(small_config):
    small_config.steps = 600
    small_config.optimizer.update(
        {"schedule": "cosine", "learning_rate": 1e-3, "warmup": 0, "final_learning_rate": 0.0}
    )
    line = describe_schedule_change(session_of(small_config), 300, 300)
    assert line.startswith("step 300 is 50% of the run, and was 100%")
    assert line.endswith("the learning rate is 0.0005, and would have been 0")
    small_config.optimizer.schedule = "constant"
    assert "learning rate" not in describe_schedule_change(session_of(small_config), 300, 300)


@pytest.mark.more
def test_a_copy_as_step_0_is_no_new_run(small_config, tmp_path):
    """A run with the largest seed."""
    small_config.update({"steps": 1, "seed": 2**32 - 1})
    assert loop.train(small_config, tmp_path) == 0
    (tmp_path / "checkpoints" / "1").rename(tmp_path / "checkpoints" / "0")
    small_config.steps = 2
    with pytest.raises(InputError, match="0 cannot be read: it is that of step 1"):
        loop.train(small_config, tmp_path)
