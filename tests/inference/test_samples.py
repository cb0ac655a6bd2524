"""Samples of a prior: drawn, and written as a picture and arrays or as a file per image."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
from conftest import fake
from helpers import dataset_of, on_one_device
from PIL import Image
from tiny import small_prior

import vqjax
from vqjax.__main__ import main
from vqjax.data import datasets
from vqjax.runs.devices import PARALLEL, Mapper, Pmap
from vqjax.system.errors import InputError
from vqjax.training import loop

pytest_plugins = "inference_fixtures"


@pytest.fixture(scope="module")
def prior(runs):
    return vqjax.Prior.load(runs / "prior")


@pytest.fixture(scope="module")
def digits(prior):
    """The images (360, 8, 8, 1) and labels that eval.json is about."""
    return datasets.read_split(dataset_of(prior.tokenizer.config), "test").arrays


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def draw(runs, tmp_path_factory):
    """The arrays that the command `sample` writes, with more arguments."""

    def run(*words, workdir=None):
        workdir, out = workdir or runs / "prior", tmp_path_factory.mktemp("drawn") / "samples.png"
        assert main(["sample", str(workdir), "--num", "12", "--out", str(out), *map(str, words)]) == 0
        with Image.open(out) as picture:
            return picture.size, arrays(out.with_suffix(".npz"))

    return run


@pytest.mark.more
def test_every_argument_does_something(draw, prior):
    size, default = draw()
    assert default["images"].shape == (12, 8, 8, 1) and default["codes"].shape == (12, 4, 4)
    assert default["images"].dtype == default["codes"].dtype == np.uint8
    np.testing.assert_array_equal(default["classes"], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    np.testing.assert_array_equal(draw("--num", 15, "--batch", 4)[1]["codes"][:12], default["codes"])
    np.testing.assert_array_equal(draw("--classes", "7, 3,0")[1]["classes"], [7, 3, 0] * 4)
    for words in (["--seed", 1], ["--temperature", 0.1], ["--top-p", 0.05], ["--classes", "7"]):
        assert not np.array_equal(draw(*words)[1]["codes"], default["codes"]), words
    greedy = [draw("--top_k", 1, "--seed", seed)[1]["codes"] for seed in (5, 6)]
    np.testing.assert_array_equal(*greedy)
    taller, near = draw("--neighbors")
    assert 0 <= taller[0] - size[0] < 56 and taller[1] > 1.5 * size[1]  # as many columns, pairs further apart
    real = datasets.load_split(dataset_of(prior.config), "train").arrays["image"].astype(float)
    assert len(real) == 1293  # without the validation share, which the prior has not seen
    distances = ((near["images"][:, None] - real) ** 2).sum((2, 3, 4))
    np.testing.assert_array_equal(near["neighbors"], real[distances.argmin(1)])


@pytest.mark.more
def test_the_command_draws_what_python_draws(draw, prior):
    samples = prior.sample(12, classes=[3, "7", np.int32(0)], seed=5, temperature=0.9, top_k=4, top_p=0.8)
    np.testing.assert_array_equal(samples.classes, [3, 7, 0] * 4)
    assert samples.codes.dtype == np.int32 and samples.images.dtype == np.float32
    words = ["--classes", "3,7,0", "--seed", 5, "--temperature", 0.9, "--top-k", 4, "--top-p", 0.8]
    _, written = draw(*words)
    np.testing.assert_array_equal(written["codes"], samples.codes)
    np.testing.assert_array_equal(written["images"], np.round(255 * samples.images))
    np.testing.assert_allclose(prior.tokenizer.decode(samples.codes), samples.images, atol=1e-6)
    more = prior.sample(300, classes=[3, 7, 0], seed=5, temperature=0.9, top_k=4, top_p=0.8)
    np.testing.assert_array_equal(more.codes[:12], samples.codes)
    assert list(prior.sample(11).classes) == [*range(10), 0]
    assert list(prior.sample(3, classes="8").classes) == list(prior.sample(3, classes=8).classes) == [8, 8, 8]
    for several in ({3: "a", 7: "b"}.keys(), (number for number in (3, 7)), np.array([3, 7])):
        assert list(prior.sample(4, classes=several).classes) == [3, 7, 3, 7]
    assert list(prior.sample(2, classes=np.array(7)).classes) == [7, 7]


def test_a_file_per_image(runs, tmp_path, capsys):
    """It was one grid and an array."""
    out = tmp_path / "new" / "samples"
    words = ["sample", str(runs / "prior"), "--num", "7", "--classes", "3,8", "--format", "png", "--neighbors"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"written": [str(out)]}
    drawn = vqjax.Prior.load(runs / "prior").sample(7, classes=[3, 8])
    pictures = [f"{number:05}.png" for number in range(7)]
    beside = [f"{number:05}_neighbor.png" for number in range(7)]
    assert sorted(path.name for path in out.iterdir()) == sorted([*pictures, *beside, "codes.npz", "samples.csv"])
    for name, image in zip(pictures, drawn.images):
        np.testing.assert_array_equal(np.asarray(Image.open(out / name)), np.round(255 * image[..., 0]))
    np.testing.assert_array_equal(arrays(out / "codes.npz")["codes"], drawn.codes)
    with (out / "samples.csv").open() as file:
        assert [*csv.reader(file)] == [["file", "class"], *([name, str(c)] for name, c in zip(pictures, drawn.classes))]
    with pytest.raises(InputError, match="--out=.* is in use: expected an empty directory or none"):
        main([*words, "--out", str(out)])


@pytest.mark.parametrize(
    "words, problem",
    [
        ("--complete 0 --likelihood 1", "--complete and --likelihood: expected one of them"),
        ("--complete 0 --neighbors", "--neighbors: expected nothing, it changes nothing with --complete"),
        (
            "--likelihood 0 --guidance 2 --num 3 --temperature 0.5",
            "--num, --temperature: expected nothing, .* with --likelihood",
        ),
        ("--keep left", "--keep: expected --complete"),
    ],
)
def test_flags_that_would_change_nothing_are_refused(words, problem, tmp_path):
    with pytest.raises(InputError, match=f"^{problem}"):
        main(["sample", str(tmp_path), *words.split()])


def test_log_prob_is_what_the_run_has_measured(prior, digits):
    codes = prior.tokenizer.encode(digits["image"])
    nats = prior.log_prob(codes, digits["label"])
    assert nats.shape == (360,) and nats.dtype == np.float32 and prior.conditional
    np.testing.assert_allclose(-nats.mean() / 16, prior.metrics["nats_per_code"], rtol=1e-5)
    one = prior.log_prob(codes[:2], "3")
    np.testing.assert_allclose(one, prior.log_prob(codes[:2], [3, 3]), rtol=1e-6)
    assert np.abs(one - prior.log_prob(codes[:2], 4)).max() > 1e-4


def drawn_with(model, parallel, draw):
    """What is drawn when programs are compiled by an entry of PARALLEL, for the devices that there are."""
    model._mapper = Mapper(model._fixed(model._task, model._variables), parallel)
    return draw(model)


def assert_same_samples(drawn, other):
    np.testing.assert_array_equal(other.codes, drawn.codes)
    np.testing.assert_allclose(other.images, drawn.images, atol=1e-6)


@pytest.mark.more
def test_pmap_and_shard_map_draw_the_same(runs):
    """On eight devices, in batches that they do not divide."""
    model = vqjax.Prior.load(runs / "prior")
    first, *others = [drawn_with(model, parallel, lambda prior: prior.sample(19, batch=10)) for parallel in PARALLEL]
    for other in others:
        assert_same_samples(first, other)


@pytest.mark.more
def test_one_device_and_eight_complete_the_same_in_several_steps(runs, digits, monkeypatch):
    """By pmap on eight and by shard_map on one; each image has other codes that are known."""
    masks = np.random.default_rng(0).random((11, 4, 4)).repeat(2, 1).repeat(2, 2) < 0.4
    complete = lambda prior: prior.complete(digits["image"][:11], masks, [3, *range(10)], steps=3, batch=4)  # noqa: E731
    eight = drawn_with(vqjax.Prior.load(runs / "transformer"), "pmap", complete)
    assert jax.local_device_count() == 8 and len(np.unique(eight.codes, axis=0)) == 11
    on_one_device(monkeypatch)
    assert_same_samples(eight, drawn_with(vqjax.Prior.load(runs / "transformer"), "shard_map", complete))


CODES = np.zeros((2, 4, 4), int)
WRONG = [
    ("sample", (0,), ValueError, "^num=0: expected at least 1"),
    ("sample", (1.5,), TypeError, "float"),
    ("sample", (4, [10]), ValueError, "^classes: '10' is unknown"),
    ("sample", (4, [-1]), ValueError, "^classes: '-1' is unknown"),
    ("sample", (4, ["ten"]), ValueError, "^classes: 'ten' is unknown.*\nKnown: 0, 1"),
    ("sample", (4, []), ValueError, "^classes: expected one or more"),
    ("sample", (4, None, {"seed": -1}), ValueError, "^seed=-1: expected at least 0"),
    ("sample", (4, None, {"temperature": 0}), ValueError, "^temperature=0.0: expected at least"),
    ("sample", (4, None, {"top_k": 17}), ValueError, "^top_k=17: expected at most the 16 codes"),
    ("log_prob", (CODES, [1, 2, 3]), ValueError, "3 classes for 2 images"),
    ("log_prob", (CODES,), ValueError, "^classes: expected one for each image"),
    ("log_prob", (CODES[:, :2], 1), ValueError, r"\(2, 2, 4\): expected \(N, 4, 4\)"),
    ("log_prob", (CODES + 16, 1), ValueError, "expected 0 to 15"),
    (
        "log_prob",
        (CODES, 1, {"guidance": 2}),
        ValueError,
        "^guidance=2.0: expected 1, this prior knows no images without",
    ),
]


@pytest.mark.parametrize("method, arguments, kind, message", WRONG)
def test_wrong_input_is_told_what_was_expected(runs, method, arguments, kind, message, monkeypatch):
    """Before anything is compiled or run."""
    prior = vqjax.Prior.load(runs / "prior")
    monkeypatch.setattr(Pmap, "compile", None)
    with pytest.raises(kind, match=message):
        options = arguments[-1] if isinstance(arguments[-1], dict) else {}
        getattr(prior, method)(*(arguments[:-1] if options else arguments), **options)


def test_bad_arguments_are_refused_and_nothing_is_written(runs, tmp_path):
    (tmp_path / "folder.png").mkdir()
    assert (runs / "prior").is_dir()
    before = {path: path.stat().st_mtime_ns for path in [*tmp_path.rglob("*"), *runs.root.rglob("*")]}
    for workdir, words, message in (
        (runs / "tokenizer", [], "--workdir=.* holds a run of task 'autoencoder', expected 'prior'"),
        (tmp_path / "nowhere", [], "--workdir=.*: expected the workdir of a trained model, found no such directory"),
        (runs / "prior", ["--classes", "3,ten"], "--classes: 'ten' is unknown.*\nKnown: 0, 1.*numbers from 0 to 9"),
        (runs / "prior", ["--classes", "10"], "'10' is unknown"),
        (runs / "prior", ["--temperature", "0"], "--temperature=0.0: expected at least 1e-06"),
        (runs / "prior", ["--temperature", "nan"], "--temperature=nan: expected at least 1e-06"),
        (runs / "prior", ["--top_k", "17"], "--top_k=17: expected at most the 16 codes of stage 1"),
        (runs / "prior", ["--top_k", "-1"], "--top_k=-1: expected at least 0"),
        (runs / "prior", ["--top_p", "1.5"], "--top_p=1.5: expected greater than 0 and at most 1"),
        (runs / "prior", ["--num", "0"], "--num=0: expected at least 1"),
        (runs / "prior", ["--batch", "0"], "--batch=0: expected at least 1"),
        (runs / "prior", ["--seed", "-1"], "--seed=-1: expected at least 0"),
        (runs / "prior", ["--step", "3"], "--step=3: no such checkpoint"),
        (runs / "prior", ["--stage1", str(runs / "prior")], "--stage1=.* task 'prior', expected 'autoencoder'"),
        (runs / "prior", ["--out", "samples.jpg"], "--out=.*samples.jpg: expected a path that ends in .png"),
        (runs / "prior", ["--out", str(tmp_path / "no" / "s.png")], "in a directory that exists"),
        (runs / "prior", ["--out", str(tmp_path / "folder.png")], "expected files that can be written"),
    ):
        with pytest.raises(InputError, match=message):
            main(["sample", str(workdir), *words])
    assert {path: path.stat().st_mtime_ns for path in [*tmp_path.rglob("*"), *runs.root.rglob("*")]} == before


@pytest.mark.slow
def test_a_prior_without_classes(runs, tmp_path):
    assert loop.train(small_prior(runs / "tokenizer", class_conditional=False), tmp_path / "prior") == 0
    model = vqjax.Prior.load(tmp_path / "prior")
    samples = model.sample(2)
    assert samples.classes is None and not model.conditional and model.log_prob(samples.codes).shape == (2,)
    for use in (lambda: model.sample(2, classes=[3]), lambda: model.log_prob(samples.codes, [3, 3])):
        with pytest.raises(ValueError, match="^classes=3.*: this prior was trained without classes"):
            use()
    assert "classes" not in arrays(model.sample_files(2)[1])
    directory = model.sample_files(2, tmp_path / "pictures", "png")[0]
    assert sorted(path.name for path in directory.iterdir()) == ["00000.png", "00001.png", "codes.npz"]
    with pytest.raises(InputError, match="--classes=3: this prior was trained without classes"):
        main(["sample", str(tmp_path / "prior"), "--classes", "3"])


@pytest.mark.slow
def test_images_and_codes_that_are_not_square(small_config, tmp_path, monkeypatch):
    """From stage 1 to samples and exported codes: 8 x 12 pixels, 4 x 6 codes."""
    names = tuple(f"class {i}" for i in range(3))
    monkeypatch.setitem(datasets.DATASETS, "oblong", fake((8, 12, 1), names))
    small_config.data.name = "oblong"
    assert loop.train(small_config, tmp_path / "oblong") == 0
    assert loop.train(small_prior(tmp_path / "oblong"), tmp_path / "prior") == 0
    samples = vqjax.Prior.load(tmp_path / "prior").sample(12, classes=["class 2", 0])
    assert samples.images.shape == (12, 8, 12, 1) and samples.codes.shape == (12, 4, 6)
    np.testing.assert_array_equal(samples.classes, [2, 0] * 6)
    vqjax.Tokenizer.load(tmp_path / "oblong").export_codes(tmp_path / "codes", "test")
    assert np.load(tmp_path / "codes" / "test_codes.npy").shape == (40, 4, 6)


@pytest.mark.more
def test_a_stage_1_that_has_moved_is_named(runs, tmp_path, draw):
    shutil.copytree(runs / "tokenizer", tmp_path / "first")
    assert loop.train(small_prior(tmp_path / "first"), tmp_path / "prior") == 0
    default = draw(workdir=tmp_path / "prior")[1]
    shutil.move(tmp_path / "first", tmp_path / "moved")
    with pytest.raises(InputError, match="stage 1 is no longer in .*: name the place with --stage1$"):
        draw(workdir=tmp_path / "prior")
    again = draw("--stage1", tmp_path / "moved", workdir=tmp_path / "prior")[1]
    np.testing.assert_array_equal(again["codes"], default["codes"])
