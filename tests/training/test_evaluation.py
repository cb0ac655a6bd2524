"""Evaluation of checkpoints of a run that is there."""

import json

import pytest

from vqjax.__main__ import main
from vqjax.runs.workdir import Workdir
from vqjax.training import ending


def test_a_checkpoint_that_is_named_is_evaluated_beside_the_runs_own_figures(stage1, capsys):
    contents = lambda: {path: path.read_bytes() for path in stage1.rglob("*") if path.is_file()}  # noqa: E731
    before = contents()
    main(["evaluate", "--workdir", str(stage1), "--step", "4"])
    assert f"written to {stage1}/evaluations/4/eval.json" in capsys.readouterr().out
    after = contents()
    assert {path: after[path] for path in before} == before
    new = {path.name: path for path in after if path not in before}
    assert {path.parent for path in new.values()} == {stage1 / "evaluations" / "4"}
    assert {*new} == {"eval.json", "codebook.png", "reconstructions.png"}
    assert json.loads(new["eval.json"].read_text())["step"] == 4


@pytest.mark.parametrize("content", ["null", "3", "[]", "{", '{"step": 4, "split": "validation"}'])
def test_an_eval_json_that_is_damaged_or_of_something_else_is_made_again(tmp_path, content):
    (tmp_path / "eval.json").write_text('{"step": 4, "split": "test", "loss": 1.0}')
    assert ending._is_tested(Workdir(tmp_path), 4) and not ending._is_tested(Workdir(tmp_path), 5)
    (tmp_path / "eval.json").write_text(content)
    assert not ending._is_tested(Workdir(tmp_path), 4)
