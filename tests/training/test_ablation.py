"""Runs that are compared with each other."""

import csv
import json

import pytest
from conftest import small_autoencoder, small_classifier
from ml_collections import ConfigDict

from configs import code_classifier
from vqjax.system.errors import InputError
from vqjax.training import ablation, loop


@pytest.fixture
def rows():
    """An autoencoder, a classifier on its codes, and one of the images, as an ablation's config."""
    on_codes = code_classifier.get_config("digits")
    on_codes.update({"stage1": "first", "steps": 4, "batch_size": 16})
    on_codes.optimizer.update(warmup=1, warmup_share=0.0)
    on_codes.model.head = "pooled"
    return ConfigDict({"first": small_autoencoder(), "codes": on_codes, "a": small_classifier()}, sort_keys=False)


def table(directory):
    with (directory / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_stopped_ablation_goes_on_where_it_stopped(rows, tmp_path, monkeypatch, capsys):
    trained, train = [], loop.train

    def stopped_in_the_last_row(config, workdir):
        trained.append(workdir.name)
        return 143 if workdir.name == "a" else train(config, workdir)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", stopped_in_the_last_row)
        assert ablation.ablate(rows, tmp_path) == 143
    assert trained == ["first", "codes", "a"] and [row["row"] for row in table(tmp_path)] == ["first", "codes"]
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "codes").rglob("*.jsonl")}

    assert ablation.ablate(rows, tmp_path) == 0
    first, codes, end_to_end = table(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "codes").rglob("*.jsonl")} == finished
    assert (first["task"], first["accuracy"]) == ("autoencoder", "") and float(first["mse"]) > 0
    assert (codes["task"], codes["quantizer"], codes["inputs"]) == ("code_classifier", "ema", "codes")
    assert (end_to_end["task"], end_to_end["quantize"], end_to_end["inputs"]) == ("classifier", "pooled", "")
    for row in (codes, end_to_end):
        assert row["dataset"] == "digits" and 0 <= float(row["accuracy"]) <= float(row["top5"]) <= 1
        assert int(row["codes_used"]) <= 16 and row["seed"] == "0"
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1 and lines[4].startswith("| a | digits |")
    assert lines[2].startswith("| first | digits | autoencoder | ema |")
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "plot.png").stat().st_size > 5000

    # What the rows were trained on is not trained on behind their backs, nor is another row before that is noticed.
    rows.first.steps = 8
    with pytest.raises(InputError, match="row 'codes': config.first.steps=8: this row is trained on its codes already"):
        ablation.ablate(rows, tmp_path)
    rows.first.steps = 6
    rows.a.steps = 8
    facts = json.loads((tmp_path / "codes" / "run.json").read_text())
    (tmp_path / "codes" / "run.json").write_text(json.dumps({**facts, "stage1": "0" * 64}))
    with pytest.raises(InputError, match="row 'codes': config.stage1=.* has been retrained since this run was trained"):
        ablation.ablate(rows, tmp_path)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["steps"] == 6


@pytest.mark.slow
def test_several_seeds(rows, tmp_path):
    """A run per row and seed, on the stage 1 of its seed; the same command again adds none; mean and range by hand."""
    del rows["a"]
    assert ablation.ablate(rows, tmp_path) == 0
    one = table(tmp_path)
    assert ablation.ablate(rows, tmp_path, seeds=2) == 0
    found = table(tmp_path)
    assert [row["row"] for row in found] == ["first", "codes", "first-seed1", "codes-seed1"]
    assert [row["seed"] for row in found] == ["0", "0", "1", "1"]
    stage1 = json.loads((tmp_path / "codes-seed1" / "config.json").read_text())["stage1"]
    assert stage1 == str(tmp_path / "first-seed1")
    errors = [float(row["mse"]) for row in found[::2]]
    text = (tmp_path / "table.md").read_text()
    assert errors[0] != errors[1] and len(text.splitlines()) == 4
    assert f"| {sum(errors) / 2:#.4g} ({min(errors):#.4g} to {max(errors):#.4g}) |" in text
    assert found[:2] == one
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    assert ablation.ablate(rows, tmp_path, seeds=2) == 0
    assert table(tmp_path) == found and {path: path.stat().st_mtime_ns for path in trained} == trained


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows.a.model.update(backbone="resnet"), "row 'a': config.model.backbone='resnet' is unknown"),
        (lambda rows: rows.a.data.update(name="mnis"), "row 'a': config.data.name='mnis' is unknown"),
        (lambda rows: rows.codes.update(stage1="second"), "row 'codes': config.stage1=second: expected the workdir"),
        (lambda rows: rows.codes.update(stage1="a"), "row 'codes': config.stage1=a: that row must come before this"),
        (lambda rows: rows.codes.data.update(name="mnist"), "row 'codes': config.data.name='mnist', but"),
        (lambda rows: rows.codes.model.update(head="con"), "row 'codes': config.model.head='con' is unknown. Did you"),
        (lambda rows: rows.first.model.update(quantizer="none"), "row 'codes': config.stage1=.* has no codes"),
        (
            lambda rows: rows.a.data.update(name="cifar10", data_dir="nowhere"),
            "row 'a': config.data.name='cifar10' is not",
        ),
        (
            lambda rows: rows.a.data.update(validation=1e-4),
            "row 'a': config.data.validation=0.0001 of 1437 images leaves",
        ),
    ],
)
def test_a_row_that_cannot_be_built_is_refused_before_the_first_run(rows, tmp_path, change, message):
    change(rows)
    with pytest.raises(InputError, match=message):
        ablation.ablate(rows, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_config_of_one_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="config.batch_size: expected the config of a run, found 16"):
        ablation.ablate(small_classifier(), tmp_path / "runs")
    with pytest.raises(InputError, match="expected a config with rows"):
        ablation.ablate(ConfigDict(), tmp_path / "runs")


def test_the_workdir_of_another_run_is_left_alone(rows, trained_stage1, tmp_path):
    with pytest.raises(InputError, match="holds a run: expected a directory for the rows' runs"):
        ablation.ablate(rows, trained_stage1)
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "notes").write_text("mine")
    with pytest.raises(InputError, match="row 'codes': --workdir=.* expected a run or an empty directory"):
        ablation.ablate(rows, tmp_path)
    assert not (tmp_path / "first").exists()


def test_figures_have_as_many_digits_as_each_other(tmp_path):
    rows = [{"row": "a", "accuracy": 0.995, "parameters": 1234}, {"row": "b", "accuracy": 0.99331, "codes_used": 7}]
    ablation.write_table(tmp_path, rows)
    assert (tmp_path / "table.md").read_text().splitlines()[2:] == [
        "| a | 0.9950 |  | 1,234 |",
        "| b | 0.9933 | 7 |  |",
    ]


def test_figures_of_levels_have_columns_of_their_own_and_a_cell_together(tmp_path):
    """In table.csv each level or depth of each row; in table.md all of a row's in one cell, over seeds their means."""
    level = {"perplexity_top": 3.5, "codes_used_top": 4, "codes_used_bottom": 512}
    rows = [
        {"row": "grid", "mse": 0.5, "perplexity": 100.0, "codes_used": 2_435},
        {"row": "depth", "mse": 0.25, "codes_used_1": 49, "codes_used_2": 48},
        {"row": "levels", "seed": "0", "mse": 0.25, **level},
        {"row": "levels-seed1", "seed": "1", "mse": 0.25, **level, "codes_used_top": 2},
    ]
    ablation.write_table(tmp_path, rows)
    *_, last = table(tmp_path)
    names = ["perplexity", "perplexity_top", "codes_used", "codes_used_1", "codes_used_2", "codes_used_top"]
    assert [*last] == ["row", "seed", "mse", *names, "codes_used_bottom"]
    assert [last[name] for name in ("codes_used", "codes_used_1", "codes_used_top")] == ["", "", "2"]
    header, _, *lines = (tmp_path / "table.md").read_text().splitlines()
    assert header == "| row | seed | mse | perplexity | codes used |"
    assert lines == [
        "| grid |  | 0.5000 | 100.0 | 2,435 |",
        "| depth |  | 0.2500 |  | 1: 49, 2: 48 |",
        "| levels | 0, 1 | 0.2500 | top: 3.500 | top: 3.000 (2 to 4), bottom: 512 |",
    ]


@pytest.mark.more
def test_a_row_with_levels_has_their_figures(tmp_path):
    """As its eval.json has them."""
    config = small_autoencoder()
    config.update(steps=1, eval_every=1, save_every=1)
    config.model.quantizer, config.model.residual.depth = "residual", 2
    assert ablation.ablate(ConfigDict({"depth2": config}), tmp_path) == 0
    (row,), figures = table(tmp_path), json.loads((tmp_path / "depth2" / "eval.json").read_text())
    for name in ("perplexity_1", "perplexity_2", "codes_used_1", "codes_used_2"):
        assert float(row[name]) == figures[name] > 0
    assert f"1: {figures['codes_used_1']}, 2: {figures['codes_used_2']} |" in (tmp_path / "table.md").read_text()
