"""`vqjax evaluate --features`: reconstructions and samples on the features of a classifier, as a user types it."""

import json
import shutil

import numpy as np
import pytest
from helpers import assert_same, dataset_of, rewrite
from tiny import small_prior

import vqjax
from vqjax.__main__ import main
from vqjax.data import datasets
from vqjax.data.splits import Split
from vqjax.inference.features import sets
from vqjax.inference.features.bootstrap import resample_counts
from vqjax.inference.features.comparison import FeatureSet, compare_sets
from vqjax.runs.reports.features import describe_features
from vqjax.system.errors import InputError
from vqjax.training import loop

pytest_plugins = "inference_fixtures"

COMPARED = ["fd_own", "kid", "precision", "recall", "density", "coverage", "accuracy"]
FLOORS = {
    "reconstructions against test": "floor: reconstructions against test",
    "test against train": "floor: test against train",
}


@pytest.fixture(scope="module")
def digits(runs):
    return {
        name: datasets.load_split(dataset_of(vqjax.load(runs / "tokenizer").config), name).arrays
        for name in ("train", "test")
    }


@pytest.fixture
def evaluated(runs, tmp_path, capsys):
    """A copy of a run after the command with more words, and what the command printed as JSON."""

    def evaluate(kind, *words):
        workdir = tmp_path / kind
        if not workdir.exists():
            shutil.copytree(runs / kind, workdir)
        stage1 = ["--stage1", str(runs / "tokenizer")] if kind == "prior" else []
        classifier = str(runs / "classifier")
        capsys.readouterr()  # what trainings have printed
        command = ["evaluate", str(workdir), *stage1, "--features", classifier, *map(str, words)]
        assert main([*command, "--json"]) == 0
        return workdir, json.loads(capsys.readouterr().out)

    return evaluate


@pytest.mark.more
def test_features_are_those_before_the_quantizer(runs, digits):
    classifier, images = vqjax.Classifier.load(runs / "classifier"), digits["test"]["image"][:20]
    features = classifier.features(images)
    assert features.shape == (20, classifier.num_features) and features.dtype == np.float32
    module = classifier._task.module
    latents = module.apply(classifier._variables, images / np.float32(127.5) - 1, method="latents")
    np.testing.assert_allclose(features, np.asarray(latents).mean((1, 2)), atol=1e-5)
    assert_same(classifier.classify(images), (features, classifier.predict(images)))
    assert len({row.tobytes() for row in features}) == 20  # the codes are 16


def test_a_classifier_that_was_not_evaluated_has_no_accuracy():
    facts = {"dimensions": 4, "workdir": "runs/c", "step": 9, "fingerprint": "abc", "accuracy": None, "split": None}
    (line,) = describe_features({"images": 40, "classifier": facts})
    assert line.endswith("fingerprint abc")
    (line,) = describe_features({"images": 40, "classifier": {**facts, "accuracy": 0.5, "split": "test"}})
    assert line.endswith("fingerprint abc, accuracy on all of test 0.5000")


def test_reconstructions_have_the_figures_of_their_features(evaluated, runs, digits):
    workdir, found = evaluated("tokenizer")
    (path,) = found.pop("written")
    assert path == str(workdir / "features.json") and json.loads((workdir / "features.json").read_text()) == found
    names = ["reconstructions against test", "test against train"]
    assert list(found["comparisons"]) == names and all(list(found["comparisons"][name]) == COMPARED for name in names)
    classifier, test = vqjax.Classifier.load(runs / "classifier"), digits["test"]
    reconstructions = np.round(255 * vqjax.load(workdir).reconstruct(test["image"])).astype(np.uint8)
    counts = resample_counts(360, np.random.default_rng(0), 2)
    sets = [FeatureSet(classifier.features(x).astype(float), None, counts) for x in (reconstructions, test["image"])]
    expected = {name: figure.value for name, figure in compare_sets(*sets, paired=True).items()}
    expected["accuracy"] = np.mean(classifier.predict(reconstructions).argmax(1) == test["label"])
    values = {name: figure["value"] for name, figure in found["comparisons"][names[0]].items()}
    assert values == pytest.approx(expected, rel=1e-3, abs=1e-6)
    facts = found["classifier"]
    assert facts["accuracy"] == pytest.approx(classifier.metrics["accuracy"]) and facts["step"] == classifier.step
    assert facts["fingerprint"] == classifier.fingerprint and len(classifier.fingerprint) == 64


def test_a_seed_says_which_images(evaluated):
    first, again, other = (
        evaluated("tokenizer", "--num", 50, *words)[1] for words in ((), ("--seed", 0), ("--seed", 1))
    )
    assert first == again and first["images"] == 50
    for name, figures in first["comparisons"].items():
        assert figures["fd_own"] != other["comparisons"][name]["fd_own"], name


def test_the_table_is_printed_and_in_the_report(evaluated, runs, capsys):
    workdir, found = evaluated("tokenizer", "--num", 6)
    main(["evaluate", str(workdir), "--features", str(runs / "classifier"), "--num", "6"])
    printed, report = capsys.readouterr().out, (workdir / "report.md").read_text()
    header = "| 95 % interval | reconstructions against test | floor: test against train |"
    assert header in printed and header in report
    figure = found["comparisons"]["test against train"]["fd_own"]
    assert f"| {figure['value']:.3g} ({figure['low']:.3g} to {figure['high']:.3g}) |\n" in report
    facts, reader = found["classifier"], vqjax.load(runs / "classifier").metrics
    assert facts["accuracy"] == reader["accuracy"] != found["comparisons"]["test against train"]["accuracy"]["value"]
    shown = "6 images of each set", facts["fingerprint"][:12], f"accuracy on all of test {reader['accuracy']:.4f}"
    assert all(words in " ".join(printed.split()) and words in report for words in shown)  # lines are wrapped
    few = f"no more images than the {facts['dimensions']} dimensions"
    assert (few in report) == (facts["dimensions"] >= 6)
    (workdir / "features.json").write_text("{}")
    main(["evaluate", str(workdir)])
    assert header not in (workdir / "report.md").read_text()  # neither damaged, nor of another step


@pytest.mark.more
def test_a_checkpoint_that_is_named_has_its_figures_beside_the_runs(evaluated):
    workdir, found = evaluated("tokenizer", "--step", 4, "--num", 20)
    assert found["step"] == 4 and found["written"] == [str(workdir / "evaluations" / "4" / "features.json")]
    assert not (workdir / "features.json").exists() and "95 % interval" not in (workdir / "report.md").read_text()


@pytest.mark.more
def test_samples_have_two_floors_and_say_how_near_to_train_they_are(evaluated, runs, digits):
    workdir, found = evaluated("prior", "--num", 40)
    samples, *floors = found["comparisons"].values()
    assert list(found["comparisons"]) == ["samples against test", *FLOORS]
    assert list(samples) == list(floors[1]) == [*COMPARED, "memorization"] and list(floors[0]) == COMPARED
    assert [*floors[1]["memorization"].values()] == pytest.approx([0.5] * 3)  # by definition
    assert all(name in (workdir / "report.md").read_text() for name in FLOORS.values())
    prior, classifier = vqjax.Prior.load(workdir, stage1=runs / "tokenizer"), vqjax.Classifier.load(runs / "classifier")
    rows = np.sort(np.random.default_rng(0).choice(360, 40, replace=False))
    labels = digits["test"]["label"][rows]
    drawn = np.round(255 * prior.sample(40, labels.tolist()).images).astype(np.uint8)
    assert samples["accuracy"]["value"] == pytest.approx(np.mean(classifier.predict(drawn).argmax(1) == labels))
    train, ours, test = (
        classifier.features(x).astype(float) for x in (digits["train"]["image"], drawn, digits["test"]["image"][rows])
    )
    far, near = (np.linalg.norm(x[:, None] - train, axis=-1).min(1) for x in (ours, test))
    expected = np.mean(far[:, None] < near)
    assert samples["memorization"]["value"] == pytest.approx(expected, abs=2e-3)


@pytest.mark.more
def test_samples_of_a_prior_without_classes_are_not_read_as_any(runs, tmp_path, capsys):
    workdir = tmp_path / "unconditional"
    assert loop.train(small_prior(runs / "tokenizer", class_conditional=False), workdir) == 0
    words = ["evaluate", str(workdir), "--features", str(runs / "classifier"), "--num", "20"]
    assert main(words) == 0 and "| accuracy of the classifier |  | " in capsys.readouterr().out
    samples, *floors = json.loads((workdir / "features.json").read_text())["comparisons"].values()
    assert {*floors[0]} - {*samples} == {"accuracy"} and {*samples} - {*floors[0]} == {"memorization"}
    assert {*samples} < {*floors[1]}
    with pytest.raises(InputError, match="^--cas: expected a prior that knows classes"):
        main([*words, "--cas"])


@pytest.mark.more
def test_a_classifier_is_trained_on_samples_alone(evaluated, runs, digits, monkeypatch):
    seen, train = [], loop.train

    def spy(config, workdir, **options):
        with np.load(config.data.path) as file:
            seen.append((config, dict(file)))
        return train(config, workdir, **options)

    monkeypatch.setattr(loop, "train", spy)
    workdir, found = evaluated("prior", "--num", 40, "--cas", "--seed", 3)
    figure = found["comparisons"]["samples against test"]["classification_accuracy_score"]
    assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert json.loads((workdir / "features.json").read_text())["comparisons"] == found["comparisons"]
    ((config, arrays),) = seen
    assert (config.data.path, config.seed) != ("", 0) and config.model == vqjax.load(runs / "classifier").config.model
    assert len(arrays["train_image"]) == 1_437 and len(arrays["test_image"]) == 40
    prior = vqjax.Prior.load(workdir, stage1=runs / "tokenizer")
    drawn = prior.sample(10, arrays["train_label"][:10].tolist(), seed=3).images
    np.testing.assert_array_equal(arrays["train_image"][:10], np.round(255 * drawn))


@pytest.mark.more
def test_a_training_on_samples_that_fails_leaves_the_other_figures(runs, tmp_path, monkeypatch, capsys):
    shutil.copytree(runs / "prior", tmp_path / "prior")
    monkeypatch.setattr(loop, "train", lambda *_, **__: 3)
    words = ["evaluate", str(tmp_path / "prior"), "--features", str(runs / "classifier"), "--num", "20", "--cas"]
    assert main(words) == 3 and "samples against test" in capsys.readouterr().out
    figures = json.loads((tmp_path / "prior" / "features.json").read_text())["comparisons"]["samples against test"]
    assert list(figures) == [*COMPARED, "memorization"]


WRONG = [
    ("tokenizer", ["--features", "nowhere"], "^--features=nowhere: expected the workdir of a trained classifier"),
    (
        "tokenizer",
        ["--features", "TOKENIZER"],
        "^--features=.* holds a run of task 'autoencoder', expected 'classifier'",
    ),
    ("classifier", ["--features", "CLASSIFIER"], "^--workdir=.* holds a classifier: with --features expected an auto"),
    ("tokenizer", ["--features", "CLASSIFIER", "--cas"], "^--cas: expected a prior that knows classes"),
    ("tokenizer", ["--features", "CLASSIFIER", "--num", "5"], "^--num=5: expected from 6 to the 360 images of test"),
    ("tokenizer", ["--features", "CLASSIFIER", "--num", "361"], "^--num=361: expected from 6 to the 360 images of te"),
    ("tokenizer", ["--features", "CLASSIFIER", "--seed", "-1"], "^--seed=-1: expected"),
    ("tokenizer", ["--features", "CLASSIFIER", "--split", "train"], "^--split=train: expected test with --features"),
    ("tokenizer", ["--num", "20"], "^--num: expected with --features"),
    ("tokenizer", ["--seed", "1"], "^--seed: expected with --features"),
    ("prior", ["--cas"], "^--cas: expected with --features"),
]


@pytest.mark.parametrize(
    "kind, words, message", WRONG, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_what_is_wrong_is_refused(runs, kind, words, message):
    places = {"TOKENIZER": "tokenizer", "CLASSIFIER": "classifier"}
    words = [str(runs / places[word]) if word in places else word for word in words]
    before = {*(runs / kind).rglob("*")}
    with pytest.raises(InputError, match=message) as error:
        main(["evaluate", str(runs / kind), *words])
    assert len(str(error.value).splitlines()) == 1 and {*(runs / kind).rglob("*")} == before


OTHER_IMAGES = {
    "images of 16 x 16 x 1 and 8 x 8 x 1": {"image_shape": [16, 16, 1]},
    "other classes": {"class_names": [f"digit {number}" for number in range(10)]},
    "other images of test": {"hash": {"test": "pixels 00"}},
}


@pytest.mark.parametrize("difference", OTHER_IMAGES)
def test_a_classifier_of_other_images_is_refused(runs, tmp_path, difference):
    other = shutil.copytree(runs / "classifier", tmp_path / "other")
    rewrite(other / "run.json", dataset="letters", **OTHER_IMAGES[difference])
    message = f"^--features={other} was trained on 'letters', the run that is evaluated on 'digits': {difference}$"
    with pytest.raises(InputError, match=message):
        main(["evaluate", str(runs / "tokenizer"), "--features", str(other)])


@pytest.mark.parametrize(
    "train, test, num, message",
    [
        (7, 9, 8, "^--num=8: expected from 6 to the 7 images of train"),
        (9, 7, 8, "^--num=8: expected from 6 to the 7 images of test"),
        (9, 5, None, "^--features: expected more than 5 images in train and in test, found 5"),
    ],
)
def test_the_number_of_images_is_that_of_the_smaller_split(monkeypatch, train, test, num, message):
    splits = {name: Split(image=np.zeros((count, 2, 2, 1))) for name, count in (("train", train), ("test", test))}
    monkeypatch.setattr(sets.datasets, "load_splits", lambda *_: splits)
    with pytest.raises(InputError, match=message):
        sets.RunSets(None, None, None, num, 0)
