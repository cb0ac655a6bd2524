"""What commands print: with --json the JSON alone on stdout, with --quiet no progress."""

import collections
import importlib
import json
import shlex

import pytest

from vqjax.__main__ import COMMANDS, main
from vqjax.runs import plots
from vqjax.runs.devices import processes
from vqjax.runs.reports import comparison
from vqjax.training import ablation, inspection, loop


def parsers(parser):
    """The parser, or those of its subcommands."""
    inner = [
        choice for action in parser._actions if isinstance(action.choices, dict) for choice in action.choices.values()
    ]
    return [each for child in inner for each in parsers(child)] or [parser]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_flags_of_output(name):
    for parser in parsers(importlib.import_module(f"vqjax.commands.{name}").parser()):
        assert {"--json", "--quiet"} <= {*parser._option_string_actions}


def test_one_name_is_one_thing_in_all_commands():
    """A flag of several commands takes the same kind of value in each; --out is what the command writes."""
    kinds = collections.defaultdict(set)
    for name in COMMANDS:
        for parser in parsers(importlib.import_module(f"vqjax.commands.{name}").parser()):
            for flag, action in parser._option_string_actions.items():
                kinds[flag].add((action.metavar, action.type))
    several = {flag for flag, found in kinds.items() if len(found) > 1}
    assert several == {"--out"}


@pytest.fixture
def trained(monkeypatch):
    """A training that takes no time: it prints a line, writes metrics and ends with status 3."""

    def train(config, workdir, *_, **__):
        print("step 1: loss 1")
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "eval.json").write_text('{"loss": 2.0}')
        return 3

    monkeypatch.setattr(loop, "train", train)


def test_a_training_prints_its_progress_or_its_result(trained, tmp_path, capsys, monkeypatch):
    words = ["train", "--config", "digits", "--workdir", str(tmp_path / "a")]
    assert main(words) == 3
    assert capsys.readouterr().out == "step 1: loss 1\n"
    assert main([*words, "--quiet"]) == 3
    assert capsys.readouterr() == ("", "")
    for flags, name in (("", "a"), ("--overfit=8", "a-overfit")):
        assert main([*words, *filter(None, [flags]), "--json"]) == 3
        out, err = capsys.readouterr()
        assert json.loads(out) == {"status": 3, "workdir": str(tmp_path / name), "metrics": {"loss": 2.0}}
        assert "step 1" in err
    assert main([*words, "--json", "--quiet"]) == 3
    assert json.loads(capsys.readouterr().out)["status"] == 3
    assert main([*words, "--json", "--smoke"]) == 3
    assert json.loads(capsys.readouterr().out) == {"status": 3}  # its workdir is removed
    monkeypatch.setattr(processes, "is_leader", lambda: False)
    assert main([*words, "--json"]) == 3
    assert capsys.readouterr().out == ""


def test_a_smoke_test_ends_with_the_command_of_the_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(loop, "train", lambda *_, **__: 0)
    words = ["--config", "digits", "--workdir", f"{tmp_path}/a run", "--config.steps=9"]
    assert main(["train", *words, "--smoke"]) == 0
    assert capsys.readouterr().out.endswith(f"next: python -m vqjax train {shlex.join(words)}\n")


def test_an_ablation_reports_each_row(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablation, "check_rows", lambda rows, directory: rows)
    words = ["ablate", "--config", "ablation/digits", "--workdir", str(tmp_path)]
    assert main([*words, "--json"]) == 3
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert values["status"] == 3 and "step 1" in err
    first, *others = values["rows"].values()
    assert first == {"loss": 2.0} and not any(others) and values["written"] == []
    assert main(words) == 3
    assert "step 1" in capsys.readouterr().out


def test_a_comparison_has_the_metrics_of_each_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(comparison, "compare_runs", lambda workdirs, out: "| a table |\n")
    (tmp_path / "eval.json").write_text('{"loss": 2.0}')
    assert main(["compare", str(tmp_path), "--out", "there", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["runs"] == {str(tmp_path): {"loss": 2.0}} and values["table"] == "| a table |\n"


def test_inspect_reports_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inspection, "_SECONDS", 0.0)
    words = ["inspect", "--config", "digits", "--workdir", str(tmp_path / "digits"), "--config.model.ema.num_codes=1"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert values["name"] == "digits" and values["shape"] == [8, 8, 1] and len(values["classes"]) == 10
    assert sum(values["classes"].values()) == values["sizes"]["train"]
    assert values["written"] == [str(tmp_path / "digits-data.png")] and "looking at the data" in err
    assert main([*words, "--quiet"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert not err and lines[0].startswith("digits: ") and lines[-1] == f"written to {values['written'][0]}"
    assert f"odd: {values['odd'][0]}" in lines


def test_inspect_without_its_picture(tmp_path, capsys, monkeypatch):
    """Where it cannot be written, or drawn, that is a line; the summary is there."""
    monkeypatch.setattr(inspection, "_SECONDS", 0.0)
    (tmp_path / "file").write_text("")
    words = ["inspect", "--config", "digits", "--workdir"]
    assert main([*words, str(tmp_path / "file" / "digits")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("digits: ") and "written" not in out
    assert "warning: digits-data.png is not written: WriteError" in err

    def fail(*_, **__):
        raise ValueError("no font")

    monkeypatch.setattr(plots, "save_grid", fail)
    assert main([*words, str(tmp_path / "digits"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["written"] == [] and "warning: digits-data.png is not drawn: ValueError: no font" in err
