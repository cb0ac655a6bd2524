"""Command lines: what they say, and what is wrong with them, before JAX is imported."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from vqjax.__main__ import COMMANDS, main, parse
from vqjax.config import loading
from vqjax.config.plain import format_config
from vqjax.system.process import exit_status

NAMES = loading.config_names()
RUNS = [name for name in NAMES if not name.startswith("ablation/")]


def given(*words, command="train"):
    return parse([command, *map(str, words)])[1]


@pytest.fixture
def refused(capsys):
    """Runs a command line that must be refused; returns what is said."""

    def run(*words):
        assert exit_status(lambda: main(words)) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and len(err.splitlines()) <= 5
        return err

    return run


def test_fields_are_set_with_their_types():
    words = ["--config.steps=7", "--config.data.flip", "--config.optimizer.learning_rate", "1", "--workdir", "w"]
    parsed = given("--config", "digits", *words, "--config.data.name=mnist", "--noconfig.data.shuffle")
    config, workdir = parsed.config, parsed.workdir
    assert (config.steps, config.data.flip, config.data.shuffle, config.data.name) == (7, True, False, "mnist")
    assert config.optimizer.learning_rate == 1.0 and isinstance(config.optimizer.learning_rate, float)
    assert workdir == Path("w").absolute() and config.is_locked
    assert given("--config=digits").config.steps == 2_000  # no call sees another's


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_found_by_name_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = "ablate" if name.startswith("ablation/") else "train"
    parsed = given("--config", name, command=command)
    config, workdir = parsed.config, parsed.workdir
    module = importlib.import_module(f"configs.{name.replace('/', '.')}")
    assert config.to_dict() == module.get_config().to_dict() and workdir == Path("runs", *name.split("/"))
    assert given("--config", REPOSITORY / "configs" / f"{name}.py", command=command).workdir == workdir


@pytest.mark.parametrize(
    "text, workdir",
    [("classifier:mnist", "classifier-mnist"), ("gumbel_sweep:base,relaxed", "gumbel_sweep-base-relaxed")],
)
def test_an_argument_is_part_of_the_workdir(text, workdir):
    assert given("--config", text).workdir == Path("runs", workdir)


def test_a_config_of_ones_own(tmp_path, monkeypatch):
    """A config may import vqjax's configs, whatever else is called `configs`, and in such a folder its neighbors."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('a package of the user')")
    (folder / "shared.py").write_text("STEPS = 77")
    (folder / "mine.py").write_text(
        "from configs import digits, shared\n"
        "def get_config():\n    config = digits.get_config()\n    config.steps = shared.STEPS\n    return config\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = {name: module for name, module in sys.modules.items() if name.startswith("configs")}
    parsed = given("--config", "configs/mine.py")
    assert parsed.config.steps == 77 and parsed.workdir == Path("runs/mine")
    assert {name: module for name, module in sys.modules.items() if name.startswith("configs")} == before


def test_the_listing_names_every_command(capsys):
    for words in ([], ["--help"], ["-h"]):
        assert exit_status(lambda words=words: main(words)) == 0
        out = capsys.readouterr().out
        assert all(re.search(rf"^  {name} +{re.escape(line)}$", out, re.M) for name, line in COMMANDS.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_has_an_example_that_parses(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100
    example = re.search(r"example:\n  python -m vqjax (.*)$", text, re.M)[1].split()
    assert example[0] == command
    if "--config" in example:
        assert given(*example[1:], command=command).config


@pytest.mark.parametrize("source", ["vq-vae-images", "dall-e", "vqgan"])
def test_help_of_a_source_of_weights_names_its_files(source, capsys, refused):
    with pytest.raises(SystemExit) as end:
        main(["convert", source, "--help"])
    assert end.value.code == 0 and "FILE" in capsys.readouterr().out
    assert "FILE" in refused("convert", source, "--out", "runs/none")  # no file is named


def test_help_of_a_config_lists_its_fields(capsys):
    with pytest.raises(SystemExit) as end:
        given("--config", "digits", "--config.steps=5", "--help")
    text = capsys.readouterr().out
    assert end.value.code == 0 and "steps=5" in text and len(text.splitlines()) <= 45
    text = re.sub(r"\n +", " ", text)  # sections that take several lines
    for line in ("model.ema .*num_codes=128", "model.vq .*num_codes=128", r"optimizer.sgd .*momentum=0.9"):
        assert re.search(line, text), line


def test_what_is_chosen_is_shown():
    text = format_config(given("--config", "digits").config.to_dict())
    assert "model.ema " in text and "model.vq " not in text and "optimizer.adam " in text
    assert "model.gumbel.temperature" not in text
    chosen = format_config(given("--config", "digits", "--config.model.quantizer=gumbel").config.to_dict())
    assert "model.gumbel " in chosen and "model.gumbel.temperature " in chosen and "model.ema " not in chosen


@pytest.mark.parametrize(
    "words, messages",
    [
        ("trian", ["'trian' is not a command. Did you mean \"train\"?", "Known: train"]),
        ("version", ['Did you mean "--version"?']),
        ("train", ["--config is missing", "digits, digits_levels"]),
        ("train --steps=10", ["--steps=10; the field of the config is set by --config.steps"]),
        ("train --wrokdir=10", ['--wrokdir=10. Did you mean "--workdir"?']),
        ("train --config digits --steps=10", ["the field of the config is set by --config.steps"]),
        (
            "train --config digits --config.lr=1",
            ["--config.lr: there is no such field; expected optimizer.learning_rate"],
        ),
        ("train --config digits --config.steps=1e3", ["--config.steps=1e3: expected a whole number, as in 2000"]),
        ("train --config digits --config.data.shuffle=maybe", ["shuffle=maybe: expected true or false, as in True"]),
        ("devices --bla", ["unrecognized arguments: --bla\n"]),
        ("evaluate nowhere", ["nowhere: expected a run, found no config.json"]),
        ("sample --workdir x --top-k few", ["--top_k: expected a whole number, found 'few'"]),
        ("ablate", ["--config is missing", "ablation/digits"]),
        ("train --config configs/digit.py", ['no file configs/digit.py. Did you mean "configs/digits.py"?']),
        ("train --config digit", ['no file digit. Did you mean "digits"?']),
        ("train --config nowhere/digits.py", ['no file nowhere/digits.py. Did you mean "digits"?']),
        ("train --config cifar10_code", ['no file cifar10_code. Did you mean "ablation/cifar10_codes"?']),
        ("train --config ablation/digits", ["has rows to compare: python -m vqjax ablate --config ablation/digits"]),
        ("ablate --config digits", ["is the config of one run", "python -m vqjax train --config digits"]),
        ("train --config digits:mnist", ["digits.py:mnist: this config takes no argument"]),
        ("train --config classifier:mnits", ["expected a data set; known: digits, mnist"]),
        ("train --config README.md", ["--config=README.md"]),
        ("train --config digits --config.stepps=3", ['--config.stepps: there is no such field. Did you mean "steps"?']),
        ("train --config digits --config.steps=a", ["--config.steps=a"]),
        ("train --config digits --config.steps.more=1", ["config.steps is 2000 and has no fields"]),
        ("train --config digits --config.model.num_codes=64", ["no such field; expected model.ema.num_codes\n"]),
        ("train --config digits --config.num_codes=64", ["no such field; expected model.ema.num_codes\n"]),
        ("train --config digits --config.width=64", ["no such field; expected model.deepmind.width\n"]),
        (
            "train --config digits --config.model.vq.num_codes=64",
            ["model.vq is not chosen, the field would do nothing; expected model.ema.num_codes, or model.vq to be"],
        ),
        (
            "ablate --config ablation/digits --config.one_ema.model.vq.num_codes=64",
            ["one_ema.model.vq is not chosen", "expected one_ema.model.ema.num_codes"],
        ),
        ("train --config digits --config.optimizer.sgd.momentum=0.5", ["optimizer.sgd is not chosen", "adam"]),
        ("train --config digits --wrokdir=x", ['unrecognized arguments: --wrokdir=x. Did you mean "--workdir"?']),
        (
            "train --config digits --noconfig.data.flip=true",
            ["--noconfig.data.flip=true: expected --noconfig.data.flip"],
        ),
        ("train --config digits here", ["unrecognized arguments: here"]),
        ("sample --wrokdir x", ['unrecognized arguments: --wrokdir. Did you mean "--workdir"?']),
        ("sample", ["the following arguments are required: --workdir"]),
        ("sample --workdir x --numb 3", ['unrecognized arguments: --numb. Did you mean "--num"?']),
        ("sample --workdir x --num three", ["--num: expected a whole number, found 'three'"]),
        ("decode --workdir x --codes a --out b --depth all", ["--depth: expected a whole number, found 'all'"]),
        ("ablate --config ablation/digits --seeds few", ["--seeds: expected a whole number, found 'few'"]),
        ("evaluate --workdir nowhere", ["nowhere: expected a run, found no config.json"]),
        ("predict --workdir nowhere a.png", ["--workdir=nowhere: expected the workdir of a trained"]),
        ("export codes --workdir nowhere --out out", ["--workdir=nowhere: expected the workdir of a trained"]),
        ("export codes --work nowhere --out out", ["unrecognized arguments: --work"]),
        ("export codes --out out", ["the following arguments are required: --workdir"]),
        ("export code --workdir nowhere --out out", ["invalid choice: 'code'"]),
    ],
)
def test_bad_input_is_named(refused, words, messages):
    text = refused(*words.split())
    for message in messages:
        assert message in text, text


def test_an_entry_that_the_command_line_chooses_has_its_fields(capsys):
    config = given("--config", "digits", "--config.model.vq.num_codes=64", "--config.model.quantizer=vq").config
    assert config.model.vq.num_codes == 64


@pytest.mark.parametrize(
    "source, message",
    [
        ("", "expected a function get_config in it"),
        ("def get_config(): return 3", "must return a ConfigDict, not int"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def get_config(", "SyntaxError"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_a_config_that_fails_is_named(refused, tmp_path, source, message):
    file = tmp_path / "broken.py"
    file.write_text(source)
    text = refused("train", "--config", str(file))
    assert f"--config={file}" in text and message in text


@pytest.mark.parametrize(
    "words", [["-m", "vqjax", "train", "--help"], ["-m", "vqjax", "sample", "--help"], ["train.py"]]
)
def test_jax_is_not_imported_for_what_needs_none(words):
    code = "import runpy, sys; sys.argv = {!r}; runpy.{}"
    call = (
        f"run_module({words[1]!r}, run_name='__main__')"
        if words[0] == "-m"
        else "run_path('train.py', run_name='__main__')"
    )
    argv = words[1:] if words[0] == "-m" else words
    guard = "\nclass Block:\n    def find_spec(self, name, *_):\n        assert name.split('.')[0] != 'jax', name\n"
    source = "import sys" + guard + "sys.meta_path.insert(0, Block())\n" + code.format(argv, call)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", source], cwd=REPOSITORY, capture_output=True, text=True, env=environment
    )
    assert "AssertionError" not in result.stderr and result.returncode == (2 if words == ["train.py"] else 0), (
        result.stderr
    )
