"""A run on one page, and runs side by side: of real runs, against their own files."""

import json
import re
import shutil

import numpy as np
import pytest
from helpers import rewrite
from PIL import Image

from vqjax.commands import compare
from vqjax.runs import comparison
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.process import exit_status
from vqjax.training.evaluation import evaluate


def table(text):
    """{first cell: the other cells} of a Markdown table."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in cells}


def test_a_report_says_what_a_run_was(stage1):
    text = (stage1 / "report.md").read_text()
    figures, run = (json.loads((stage1 / name).read_text()) for name in ("eval.json", "run.json"))
    found = table(text)
    assert found["psnr"] == [f"{figures['psnr']:#.4g}"] and found["codes_used"] == [str(figures["codes_used"])]
    assert found["command"] == [f"`{run['command']}`"] and run["command"].startswith("python ")
    assert (
        found["data"] == ["digits, 1,437 train, 360 test"] and f"jax {run['versions']['jax']}" in found["versions"][0]
    )
    assert "6 of 6 steps" in found["training"][0] and "num_codes=16" in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert "reconstructions.png" in pictures and all((stage1 / name).is_file() for name in pictures)


def test_evaluating_again_writes_it_again(stage1):
    (stage1 / "report.md").unlink()
    rewrite(stage1 / "run.json", command="python train.py")
    evaluate(Workdir(stage1))
    assert table((stage1 / "report.md").read_text())["command"] == ["`python train.py`"]


def test_runs_side_by_side(stage1, tmp_path, capsys):
    other = shutil.copytree(stage1, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["model"]["ema"]["num_codes"] = 32
    rewrite(other / "config.json", model=config["model"])
    rewrite(other / "eval.json", psnr=30.5)
    words = [str(stage1), str(other), "--out", str(tmp_path / "both")]
    assert exit_status(lambda: compare.main(words)) == 0
    text = (tmp_path / "both" / "comparison.md").read_text()
    found, figures = table(text), json.loads((stage1 / "eval.json").read_text())
    assert found[""] == ["stage1", "other"]
    assert {name for name in found if name.startswith("config.")} == {"config.model.ema.num_codes"}
    assert found["config.model.ema.num_codes"] == ["16", "32"]
    assert found["psnr"] == [f"{figures['psnr']:#.4g}", "30.50"]
    assert text.partition("\n\n")[0] in capsys.readouterr().out
    with Image.open(tmp_path / "both" / "comparison.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 5


def test_figures_that_were_called_otherwise_stand_beside_those_of_now(stage1, tmp_path):
    other = shutil.copytree(stage1, tmp_path / "other")
    rewrite(stage1 / "eval.json", bits_per_dim=5.5)
    rewrite(other / "eval.json", bits_per_dim_given_codes=5.25)
    text = comparison.compare_runs([str(stage1), str(other)], tmp_path / "out")
    assert table(text)["bits_per_dim_given_codes"] == ["5.500", "5.250"] and "| bits_per_dim |" not in text


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda run, other: [run], "expected two runs or more"),
        (lambda run, other: [run, f"{run}/"], "expected two runs or more, each once"),
        (lambda run, other: [run, other / "nowhere"], "expected a run, found no config.json"),
        (lambda run, other: [run, other], "eval.json cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_refused(stage1, tmp_path, make, message):
    other = shutil.copytree(stage1, tmp_path / "other")
    (other / "eval.json").write_text("{")
    with pytest.raises(InputError, match=message):
        comparison.compare_runs([*map(str, make(stage1, other))], tmp_path / "out")
    assert not (tmp_path / "out").exists()
