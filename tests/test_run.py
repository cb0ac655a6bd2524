"""Whole runs, as a user types them."""

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import MAIN_JOB, README, REST, SHORTER, Command, call, ours
from conftest import REPOSITORY
from helpers import ENVIRONMENT, TINY, assert_refused, command, lines_of, on, train
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vqjax.system.process import exit_status

# What a user has: one device, nothing compiled before.
FRESH = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
FRESH["JAX_ENABLE_COMPILATION_CACHE"] = "0"


def seconds_of_two_cores():
    """How long two cores have worked on what the commands did, whatever else they had to do."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) / 2


def typed(line, folder, env=ENVIRONMENT):
    """Runs what is vqjax's in a line of the README."""
    words = line.rpartition("&& ")[2].split()
    assert words[0] == "python" and line in README
    return command(*words[1:], cwd=folder, env=env)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The README's first command, its default workdir included."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("train.py", "sample.py", "configs", "vqjax"):
        (folder / name).symlink_to(REPOSITORY / name)
    started = seconds_of_two_cores()
    result = typed(MAIN_JOB[0], folder, FRESH)
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "digits", result, seconds_of_two_cores() - started


def test_the_main_job(digits):
    workdir, result, seconds = digits
    assert seconds < 90  # compilation included
    names = {path.name for path in workdir.iterdir()}
    pictures = {"curves.png", "reconstructions.png", "codebook.png"}
    assert {"config.json", "run.json", "checkpoints", "metrics.jsonl", "timing.jsonl", "eval.json"} | pictures <= names
    assert not [name for name in names if "tmp" in name]
    figures = json.loads((workdir / "eval.json").read_text())
    config = json.loads((workdir / "config.json").read_text())
    assert figures["step"] == config["steps"] and figures["split"] == "test"
    assert figures["psnr"] >= 20
    assert figures["codes_used"] == config["model"]["ema"]["num_codes"]
    assert {"mse", "ssim", "perplexity", "loss", "reconstruction_loss", "commitment_loss"} <= set(figures)
    train_lines = [line for line in lines_of(workdir / "metrics.jsonl") if line["split"] == "train"]
    assert len(train_lines) == config["steps"] // config["log_every"]
    assert {"gradient_norm", "learning_rate", "loss", "psnr", "perplexity", "codes_used"} <= set(train_lines[-1])
    for name in pictures:
        assert np.asarray(Image.open(workdir / name).convert("L")).std() > 10, name
    assert "parameters:" in result.stdout and "eval.json" in result.stdout


@pytest.fixture(scope="module")
def digits_prior(digits):
    """The prior on that, and samples: the README's other two commands from images to samples."""
    folder = digits[0].parent.parent
    started = seconds_of_two_cores()
    results = [typed(line, folder) for line in MAIN_JOB[1:]]
    assert [result.returncode for result in results] == [0, 0], results
    return folder / "runs" / "digits_prior", results, seconds_of_two_cores() - started


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_from_images_to_samples(digits, digits_prior):
    workdir, (_, result), seconds = digits_prior
    assert digits[2] + seconds < 240
    figures = json.loads((workdir / "eval.json").read_text())
    assert figures["nats_per_code"] < 0.8 * figures["order0_nats_per_code"]
    picture, samples = Image.open(workdir / "samples.png"), arrays(workdir / "samples.npz")
    assert str(workdir / "samples.png") in result.stdout and np.asarray(picture.convert("L")).std() > 10
    assert {name: (x.shape, str(x.dtype)) for name, x in samples.items()} == {
        "images": ((80, 8, 8, 1), "uint8"),
        "codes": ((80, 4, 4), "uint8"),
        "classes": ((80,), "int32"),
    }
    assert list(samples["classes"][:12]) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_the_rest_of_the_readme(digits_prior, monkeypatch, capsys):
    """Every other command, in its order; those on one's own images on files of this test."""
    folder, rng = digits_prior[0].parent.parent, np.random.default_rng(0)
    monkeypatch.chdir(folder)
    for label in ("left", "right"):
        (folder / "DIR" / label).mkdir(parents=True)
        for i in range(24):
            pixels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(12, 0).repeat(12, 1)
            Image.fromarray(pixels).save(folder / "DIR" / label / f"{i}.png")
    for line in REST:
        for each in ours(line):
            assert call(each, *SHORTER.get(line, [])) == 0, line
    assert (folder / "runs" / "digits_prior" / "explore.html").stat().st_size < 5e6
    assert np.load(folder / "codes" / "train_codes.npy").shape[1:] == (2, 2)
    assert f"on 8 x cpu; workdir {Path('runs', 'eight')}" in capsys.readouterr().out


def test_samples_belong_to_their_class(digits_prior):
    """A linear classifier trained on the real images tells the classes of most samples."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    real, samples = load_digits(), arrays(digits_prior[0] / "samples.npz")
    classifier = LogisticRegression(max_iter=3000).fit(real.data[:1437] / 16, real.target[:1437])
    assert classifier.score(samples["images"].reshape(80, 64) / 255, samples["classes"]) > 0.6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_images_on_any_devices_in_any_batch(digits_prior, tmp_path):
    workdir, found = digits_prior[0], []
    for devices, arguments in ((1, []), (8, ["--batch", 3]), (2, ["--batch", 30]), (1, ["--seed", 1])):
        out = tmp_path / f"{len(found)}.png"
        arguments = ["--workdir", workdir, "--num", 37, "--classes", "7,0,3", "--out", out, *arguments]
        result = command("sample.py", *arguments, env=on(devices))
        assert result.returncode == 0, result.stderr
        found.append(arrays(out.with_suffix(".npz")))
    for other in found[1:3]:
        assert all(np.array_equal(found[0][name], other[name]) for name in ("images", "codes", "classes"))
    assert list(found[0]["classes"][:4]) == [7, 0, 3, 7] and not np.array_equal(found[0]["codes"], found[3]["codes"])


@pytest.fixture(scope="module")
def ablation(digits):
    """The README's comparison of quantizers on digits."""
    folder = digits[0].parent.parent
    started = seconds_of_two_cores()
    result = typed(next(line for line in README if "vqjax ablate" in line), folder, FRESH)
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "ablation" / "digits", result, seconds_of_two_cores() - started


@pytest.mark.slow
def test_quantizers_are_compared(ablation):
    directory, result, seconds = ablation
    assert seconds < 150
    with (directory / "table.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert len(rows) == 8 and all(f"| {name} |" in result.stdout for name in rows)
    accuracy = {name: float(row["accuracy"]) for name, row in rows.items() if row["accuracy"]}
    assert len(accuracy) == 7 and min(accuracy.values()) > 0.8
    for name, row in rows.items():
        assert (row["codes_used"] == "") == (name in ("none", "pixels"))
    assert np.asarray(Image.open(directory / "plot.png").convert("L")).std() > 10


@pytest.mark.slow
def test_a_file_is_classified(ablation, tmp_path):
    from sklearn.datasets import load_digits

    digits, files, right = load_digits(), [tmp_path / f"{i}.png" for i in range(10)], 0
    for i, file in enumerate(files):
        image = Image.fromarray(np.round(255 * digits.images[1500 + i] / 16).astype(np.uint8))
        image.convert("RGB").resize((64, 64)).save(file)
    for name in ("one_ema", "codes"):
        result = command("-m", "vqjax", "predict", "--workdir", ablation[0] / name, *files)
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert len(lines) == 10
        for line, file, label in zip(lines, files, digits.target[1500:]):
            predicted, probability = re.match(rf"{file}: (\d) ([\d.]+)%, ", line).groups()
            assert "resized from 64 x 64 to 8 x 8 pixels" in line and 10 <= float(probability) <= 100
            right += predicted == str(label)
    assert right >= 14  # of 20
    assert_refused(
        command("-m", "vqjax", "predict", "--workdir", ablation[0] / "codes", REPOSITORY / "README.md"), "image"
    )


def test_tensorboard_has_curves_pictures_and_the_use_of_the_codes(digits):
    found = EventAccumulator(str(digits[0] / "tensorboard")).Reload().Tags()
    assert {"train/loss", "test/psnr"} <= {*found["scalars"]}
    assert found["images"] == ["test/reconstructions"] and found["histograms"] == ["test/codes"]


def test_the_same_command_again_says_that_it_is_finished(digits):
    workdir, _, _ = digits
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    result = train(workdir)
    assert result.returncode == 0 and "is finished after" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()} == before


def test_evaluate_rewrites_eval_json(digits):
    workdir, _, _ = digits
    before = json.loads((workdir / "eval.json").read_text())
    (workdir / "eval.json").unlink()
    result = command("-m", "vqjax", "evaluate", "--workdir", workdir)
    assert result.returncode == 0, result.stderr
    after = json.loads((workdir / "eval.json").read_text())
    assert after.pop("split") == before.pop("split")
    assert after == pytest.approx(before, rel=1e-5)
    earlier = before["step"] - json.loads((workdir / "config.json").read_text())["save_every"]
    result = command("-m", "vqjax", "evaluate", "--workdir", workdir, "--step", earlier)
    assert result.returncode == 0 and f"evaluations/{earlier}/eval.json" in result.stdout
    assert json.loads((workdir / "evaluations" / str(earlier) / "eval.json").read_text())["step"] == earlier
    assert json.loads((workdir / "eval.json").read_text())["step"] == before["step"]


def test_a_workdir_of_another_run_is_left_alone(digits):
    workdir, _, _ = digits
    result = train(workdir, "--config.model.ema.num_codes=7")
    assert_refused(result, "holds another run", "config.model.ema.num_codes=7, there")


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
@pytest.mark.slow
def test_xla_flags_of_the_user_are_kept(tmp_path, parallel):
    settings = [*TINY, "--config.steps=5", f"--config.parallel={parallel}"]
    result = train(tmp_path, *settings, env=on(2))
    assert result.returncode == 0 and "on 2 x cpu" in result.stdout


@pytest.mark.parametrize(
    "arguments, messages",
    [
        ([], ["--config is missing"]),
        (["--config", "configs/digit.py"], ["configs/digit.py"]),
        (["--config", "configs/digits.py", "--config.stesp=3"], ["--config.stesp: ", '. Did you mean "steps"']),
        (["--config", "configs/digits.py", "--config.model.ema.num_code=3"], ["ema.num_code: ", '"num_codes"']),
        (["--config", "configs/digits.py", "--config.modle.code_dim", "3"], ["--config.modle.code_dim: ", '"model"']),
        (["--config", "configs/digits.py", "--config.steps=many"], ["steps", "many"]),
        (["--config", "configs/digits.py", "--config.steps=0"], ["config.steps=0", "at least 1"]),
        (["--config", "configs/digits.py", "--config.data.name=digit"], ["config.data.name='digit'", '"digits"']),
        (["--config", "configs/digits.py", "--config.model.deepmind.stages=4"], ["stride 16", "8 x 8"]),
        (["--config", "configs/digits.py", "--stesp=3"], ["stesp"]),
        (["--config", "configs/digits.py", "steps=3"], ["unrecognized arguments: steps=3"]),
        (["--config.steps=0", "--config", "configs/digits.py"], ["config.steps=0", "at least 1"]),
    ],
)
def test_bad_input_is_refused_in_a_few_lines_and_leaves_nothing(tmp_path, arguments, messages):
    result = command("train.py", *arguments, "--workdir", tmp_path / "run")
    assert_refused(result, *messages)
    assert not (tmp_path / "run").exists()


def test_evaluate_refuses_what_is_no_run(tmp_path):
    assert_refused(command("-m", "vqjax", "evaluate", "--workdir", tmp_path), "expected a run, found no config.json")
    assert not any(tmp_path.iterdir())


def test_help_names_the_flags():
    result = command("train.py", "--help")
    assert "--workdir" in result.stdout and "--config" in result.stdout
    for words in (["ablate"], ["decode"], ["predict"], ["evaluate"], ["explore"], ["export", "codes"]):
        assert "--workdir" in command("-m", "vqjax", *words, "--help").stdout, words


def test_sample_refuses_bad_input(digits, tmp_path):
    for arguments, *messages in (
        ([], "--workdir"),
        (["--workdir", digits[0]], "holds a run of task 'autoencoder', expected 'prior'"),
        (["--workdir", digits[0], "--num", "many"], "--num", "many"),
    ):
        assert_refused(command("sample.py", *arguments), *messages)


def test_exported_codes_are_what_plain_numpy_reads(digits, tmp_path):
    for split, count in (("test", 360), ("train", 1437)):
        arguments = ["--workdir", digits[0], "--split", split, "--out", tmp_path / "codes"]
        result = command("-m", "vqjax", "export", "codes", *arguments)
        assert result.returncode == 0, result.stderr
        codes = np.load(tmp_path / "codes" / f"{split}_codes.npy")
        assert codes.shape == (count, 4, 4) and codes.dtype == np.uint8
        assert len(np.load(tmp_path / "codes" / f"{split}_labels.npy")) == count
    meta = json.loads((tmp_path / "codes" / "meta.json").read_text())
    assert meta["num_codes"] == 128 and meta["grid"] == [4, 4] and meta["dataset"] == "digits"
    assert set(meta["splits"]) == {"train", "test"}


def test_export_refuses_bad_input(digits, digits_prior, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for workdir, split, out, message in (
        (digits_prior[0], "test", "out", "--workdir=.*holds a run of task 'prior', expected 'autoencoder'"),
        (tmp_path / "nowhere", "test", "out", "no such directory"),
        (digits[0], "validation", "out", "was trained with config.data.validation=0.0"),
        (digits[0], "test", digits[0] / "codes", "is where stage 1 keeps its own codes"),
        (digits[0], "test", "full", "expected codes of the same stage 1, in this format, an empty directory or none"),
    ):
        export = Command("export", ["codes", "--workdir", str(workdir), "--split", split, "--out", str(tmp_path / out)])
        assert exit_status(lambda export=export: call(export)) == 2
        said = capsys.readouterr()
        assert len((said.out + said.err).strip().splitlines()) <= 5 and "Traceback" not in said.err
        assert re.search(message, said.err)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_requirements_are_all_that_is_needed(tmp_path):
    """The two commands of the README in a fresh clone and a fresh virtual environment."""
    subprocess.run(["git", "clone", "-q", REPOSITORY, tmp_path / "clone"], check=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    readme = (REPOSITORY / "README.md").read_text()
    commands = re.findall(r"^(pip install -r requirements(?:-dev)?.txt && .*)$", readme, re.M)
    assert len(commands) == 2
    path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for line in commands:
        environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
        subprocess.run(line, shell=True, check=True, cwd=tmp_path / "clone", env={**environment, "PATH": path})
    assert shutil.which("python", path=path).startswith(str(tmp_path))
