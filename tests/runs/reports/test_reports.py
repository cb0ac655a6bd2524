"""A run on one page, and runs side by side: of real runs, against their own files."""

import json
import re
import shutil

import numpy as np
import pytest
from helpers import rewrite
from PIL import Image

from vqjax.__main__ import main
from vqjax.runs.reports import comparison
from vqjax.runs.reports.report import write_report
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
    assert f"```\n{run['command']}\n```" in text and run["command"].startswith("python ")
    assert found["data"][0].startswith("digits, 1,437 train") and "360 test" in found["data"][0]
    assert f"jax {run['versions']['jax']}" in found["versions"][0]
    assert "6 of 6 steps" in found["training"][0] and "num_codes=16" in text
    assert found["evaluated"] == ["the checkpoint of step 6, the last"]
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert "reconstructions.png" in pictures and all((stage1 / name).is_file() for name in pictures)


def test_evaluating_again_writes_it_again(stage1):
    (stage1 / "report.md").unlink()
    rewrite(stage1 / "run.json", command="python train.py")
    evaluate(Workdir(stage1))
    assert "```\npython train.py\n```" in (stage1 / "report.md").read_text()


def test_a_report_says_which_step_was_evaluated_and_how_many_images_were_used(stage1):
    """Not "4 of 6 steps" where step 4 is the best of 6; and the images of validation are not those of train."""
    rewrite(stage1 / "eval.json", step=4)
    rewrite(stage1 / "run.json", images={"train": 1234, "validation": 203, "test": 360})
    write_report(Workdir(stage1))
    found = table((stage1 / "report.md").read_text())
    assert found["training"][0].endswith(" min, 6 of 6 steps")
    assert found["evaluated"] == ["the checkpoint of step 4, the best on validation"]
    assert found["data"] == ["digits, 1,234 train, 203 validation, 360 test"]


def test_a_report_of_any_names(stage1, tmp_path):
    workdir = stage1.rename(tmp_path / "a|b`<c>$$\udc80")
    rewrite(workdir / "run.json", command="python train.py --config 'a\nb' ```", dataset="a|b")
    (workdir / "my (1) \udc80.png").write_bytes((workdir / "curves.png").read_bytes())
    write_report(Workdir(workdir))
    text = (workdir / "report.md").read_text()
    assert text.startswith(r"# a\|b\`\<c>\$\$\\x80") and "](my%20%281%29%20%80.png)" in text
    assert "````\npython train.py --config 'a\nb' ```\n````" in text
    assert table(text.replace(r"\|", "/"))["data"][0].startswith("a/b, 1,437 train")


def test_a_report_that_cannot_be_made_costs_a_line(stage1, capsys):
    before = (stage1 / "report.md").read_text()
    (stage1 / "eval.json").write_text('{"step": "none"}')
    write_report(Workdir(stage1))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: report.md is not written: ValueError: ")
    assert (stage1 / "report.md").read_text() == before


def test_runs_side_by_side(stage1, tmp_path, capsys):
    other = shutil.copytree(stage1, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["model"]["ema"]["num_codes"] = 32
    rewrite(other / "config.json", model=config["model"])
    rewrite(other / "eval.json", psnr=30.5)
    words = [str(stage1), f"{stage1}/", str(other), "--out", str(tmp_path / "both")]  # a run that is named twice
    assert exit_status(lambda: main(["compare", *words])) == 0
    text = (tmp_path / "both" / "comparison.md").read_text()
    found, figures = table(text), json.loads((stage1 / "eval.json").read_text())
    assert found[""] == ["stage1", "other"]
    assert {name for name in found if name.startswith("config.")} == {"config.model.ema.num_codes"}
    assert found["config.model.ema.num_codes"] == ["16", "32"]
    assert found["psnr"] == [f"{figures['psnr']:#.4g}", "30.50"]
    assert text.partition("\n\n")[0] in capsys.readouterr().out
    with Image.open(tmp_path / "both" / "comparison.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 5
    (other / "eval.json").write_text('{"step": 4}')  # no figure of both: no picture, not that of before either
    assert exit_status(lambda: main(["compare", *words])) == 0
    assert capsys.readouterr().out.endswith(f"in {tmp_path / 'both'}: comparison.md\n")
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["comparison.md"]
    assert "png" not in (tmp_path / "both" / "comparison.md").read_text()


def test_runs_of_any_names_side_by_side(stage1, tmp_path, capsys):
    other = shutil.copytree(stage1, tmp_path / "_cash$$|`x`\n寺")
    text = comparison.compare_runs([str(stage1), str(other)], tmp_path / "out")
    assert text.startswith(r"|  | stage1 | _cash\$\$\|\`x\`\\n寺 |")
    assert len({line.count(" |") for line in text.splitlines()}) == 1
    assert (tmp_path / "out" / "comparison.png").is_file() and not capsys.readouterr().out
    assert "寺" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["[]", '"text"', "3", '{"a":' * 100_000, b"\xff"], ids=range(5))
def test_an_eval_json_of_anything_else_is_refused(stage1, tmp_path, content):
    other = shutil.copytree(stage1, tmp_path / "other")
    (other / "eval.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match="eval.json cannot be read"):
        comparison.compare_runs([str(stage1), str(other)], tmp_path / "out")


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
