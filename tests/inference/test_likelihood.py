"""Likelihood of images by a prior, in any distribution that it draws from; and the cost of drawing in few steps."""

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dataset_of

import vqjax
from vqjax.__main__ import main
from vqjax.data import datasets
from vqjax.tasks.order_prices import read_nats
from vqjax.training import evaluation

pytest_plugins = "inference_fixtures"

BITS = "bits_per_dim_of_codes", "bits_per_dim_given_codes", "bits_per_dim_of_images"


@pytest.fixture(scope="module")
def prior(runs):
    return vqjax.Prior.load(runs / "transformer")


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


def test_the_figures_of_images_have_the_mean_that_the_run_has_measured(prior, tmp_path):
    """Of the codes, of the pixels given them, and of the image, which is their sum; in a table, too."""
    labels = datasets.load_splits(dataset_of(prior.tokenizer.config), ("test",))["test"].arrays["label"]
    numbers = ",".join(map(str, range(len(labels))))
    found, paths = prior.likelihood_files([numbers], labels.tolist(), tmp_path / "scores.png")
    assert [path.name for path in paths] == ["scores.png", "scores.csv"] and all(path.is_file() for path in paths)
    for name in ("nats_per_code", *BITS):
        assert np.mean([getattr(score, name) for score in found]) == pytest.approx(prior.metrics[name], rel=1e-4)
    with paths[1].open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["file"] for row in rows] == [f"test {number}" for number in range(len(labels))]
    for score, row in zip(found, rows):
        parts = [float(row[name]) for name in BITS]
        assert parts == [getattr(score, name) for name in BITS] and parts[2] == pytest.approx(sum(parts[:2]))


def test_bits_of_pixels_that_are_not_known_are_missing_and_it_says_what_to_do(runs, tmp_path, capsys):
    words = ["sample", str(runs / "transformer"), "--likelihood", "0,7", "--out", str(tmp_path / "scores.png")]
    assert main(words) == 0
    known = lines_of(capsys)
    stage1 = shutil.copytree(runs / "tokenizer", tmp_path / "first")
    (stage1 / "likelihood.json").unlink()
    assert main([*words, "--stage1", str(stage1)]) == 0
    *scores, missing, _ = lines_of(capsys)
    assert missing == f"the bits of the pixels are missing: evaluate {stage1}, which fits their distribution"
    for score, before in zip(scores, known, strict=False):
        nats, bits = before.split(" nats per code, ")
        codes = bits.split("dimension: ")[1].split(" of its codes")[0]
        assert score == f"{nats} nats per code, {codes} bits per dimension of its codes"
    assert main(["evaluate", str(stage1)]) == 0
    capsys.readouterr()
    assert main([*words, "--stage1", str(stage1)]) == 0
    assert lines_of(capsys) == known


def test_guidance_is_of_the_distribution_that_is_drawn_from(prior):
    """By hand: p(code | class)^2 / p(code), made to sum to 1. Guidance 1 is none."""
    codes = np.random.default_rng(0).integers(0, 16, (5, 4, 4))
    flat, labels = jnp.asarray(codes.reshape(5, 16)), jnp.arange(5)
    plain = prior.log_prob(codes, [*range(5)])
    np.testing.assert_array_equal(prior.log_prob(codes, [*range(5)], guidance=1), plain)
    module, weights = prior._task.module, prior._task.weights(prior._variables)
    logits = [np.asarray(module.apply(weights, flat, label), np.float64) for label in (labels, jnp.full(5, 10))]
    p, q = (np.asarray(jax.nn.softmax(each)) for each in logits)
    guided = p**2 / q / (p**2 / q).sum(-1, keepdims=True)
    expected = np.log(np.take_along_axis(guided, np.asarray(flat)[..., None], -1)).sum((1, 2))
    np.testing.assert_allclose(prior.log_prob(codes, [*range(5)], guidance=2), expected, rtol=1e-4)
    assert np.abs(expected - plain).max() > 1e-3
    np.testing.assert_allclose(prior.log_prob(codes, guidance=2), prior.log_prob(codes), rtol=1e-6)  # of no class


def test_fewer_steps_are_never_said_to_be_cheaper(prior):
    """For any number of codes that are known: both figures are of one measurement."""
    for known in range(16):
        found = [prior.groups(steps, known) for steps in range(1, 16 - known)]
        for steps, plan in enumerate(found, 1):
            assert sum(plan.groups) == 16 and len(plan.groups) == steps + bool(known)
            assert plan.nats >= plan.one_by_one - 1e-9 and plan.one_by_one == found[0].one_by_one
        assert all(a.nats >= b.nats - 1e-9 for a, b in zip(found, found[1:]))
        assert prior.groups(16 - known or 1, known) == (None, None, None)


@pytest.mark.parametrize("words, known", [(["--num", "2"], 0), (["--complete", "0", "--num", "1"], 8)])
def test_the_nats_to_be_expected_are_printed(runs, prior, tmp_path, capsys, monkeypatch, words, known):
    """Of samples and of completions, which begin with the codes that are kept; not of guided ones."""
    for name in ("sample_files", "complete_files"):  # nothing is drawn
        monkeypatch.setattr(vqjax.Prior, name, lambda *_, **__: [tmp_path / "drawn.png"])
    command = ["sample", str(runs / "transformer"), *words, "--steps", "3"]
    assert main(command) == 0
    plan = prior.groups(3, known)
    first, second = lines_of(capsys)
    after = " after 8 known codes" if known else ""
    shown = f"3 steps{after}: {plan.nats:.3f} nats per code are to be expected, {plan.one_by_one:.3f} one by one"
    assert first == shown and second.startswith("written to ")
    assert main([*command, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["expected_nats_per_code"] == plan.nats
    assert values["expected_nats_per_code_one_by_one"] == plan.one_by_one
    assert main([*command, "--guidance", "2"]) == 0
    assert [line[:11] for line in lines_of(capsys)] == ["written to "]


def test_nats_by_steps(runs):
    """By S = L, L/2, L/4, 8, 4: one by one they are those of random orders, and more codes at once cost no less."""
    workdir = runs / "transformer"
    figures, known = (json.loads((workdir / name).read_text()) for name in ("eval.json", "nats_by_known.json"))
    measured, predicted = figures["nats_by_steps"], figures["nats_by_steps_predicted"]
    assert [*measured] == [*predicted] == ["16", "8", "4"]
    assert measured["16"] == pytest.approx(figures["nats_per_code_any_order"], rel=1e-5)
    assert all(0 < nats < 2 * np.log(16) for nats in measured.values())
    for nats in (measured, predicted):
        assert nats["16"] <= nats["8"] + 1e-9 <= nats["4"] + 2e-9
    raw = np.array(known["steps"][str(figures["step"])])
    assert raw.shape == (16,) and predicted["16"] == pytest.approx(raw.mean(), rel=1e-4)
    falling = read_nats(workdir, figures["step"])
    assert np.all(np.diff(falling) <= 0) and falling.mean() == pytest.approx(raw.mean())
    assert read_nats(workdir, 3) is None


def test_evaluate_prints_the_nats_by_steps_and_the_report_has_them(runs, monkeypatch, capsys):
    """And what the bits of images bound, of a prior that knows classes."""
    workdir = runs / "transformer"
    figures = json.loads((workdir / "eval.json").read_text())
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: (figures["step"], figures))
    assert main(["evaluate", str(workdir)]) == 0
    line = ", ".join(f"{nats:.3f} in {steps}" for steps, nats in figures["nats_by_steps"].items())
    assert f"nats per code in random orders, by the number of steps: {line}\n" in capsys.readouterr().out
    report = (workdir / "report.md").read_text()
    for steps, nats in figures["nats_by_steps"].items():
        assert f"| {steps} | {nats:#.4g} | {figures['nats_by_steps_predicted'][steps]:#.4g} |" in report
    assert "bits_per_dim_of_images bounds -log2 p(image | class)" in report
    assert "p(image | class)" not in (runs / "tokenizer" / "report.md").read_text()
