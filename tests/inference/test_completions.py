"""Completed, edited and scored images of a prior that knows any order: from Python, and as files."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
from conftest import more_but
from helpers import dataset_of, task_of
from PIL import Image
from tiny import small_prior

import vqjax
from vqjax.__main__ import main
from vqjax.data import datasets
from vqjax.data.images import read_image
from vqjax.inference.keep import as_keep, parse_keep
from vqjax.runs import plots
from vqjax.runs.devices import Pmap
from vqjax.system.errors import InputError
from vqjax.tasks.order_prices import read_nats

pytest_plugins = "inference_fixtures"

BOX = "2:7,1:6"  # holds the squares of the codes in rows and columns 1 and 2, and the edge of others


@pytest.fixture(scope="module")
def prior(runs):
    return vqjax.Prior.load(runs / "transformer")


@pytest.fixture(scope="module")
def digits(prior):
    """The images of test, (360, 8, 8, 1)."""
    return datasets.read_split(dataset_of(prior.tokenizer.config), "test").arrays["image"]


@pytest.fixture(scope="module")
def images(digits):
    return digits[:3]


def keeping(text):
    return parse_keep(text, 8, 8)


# Completing


@pytest.mark.parametrize("kind", more_but("transformer", ["transformer", "prior"]))
def test_a_mask_of_everything_returns_the_image(runs, images, kind):
    prior = vqjax.Prior.load(runs / kind)
    drawn = prior.complete(images, np.ones((8, 8), bool), 3, num=2)
    np.testing.assert_array_equal(drawn.images, images.repeat(2, 0) / np.float32(255))
    np.testing.assert_array_equal(drawn.codes, prior.tokenizer.encode(images).repeat(2, 0))
    np.testing.assert_array_equal(drawn.classes, [3] * 6)


def test_a_mask_of_nothing_is_a_sample(prior, images, digits):
    """Nothing of the image is in it."""
    nothing = np.zeros((8, 8), bool)
    drawn = prior.complete(images, nothing, 3, num=2)
    np.testing.assert_array_equal(drawn.codes, prior.complete(digits[-3:], nothing, 3, num=2).codes)
    np.testing.assert_allclose(drawn.images, prior.tokenizer.decode(drawn.codes), atol=1e-6)
    assert len(np.unique(drawn.codes, axis=0)) == 6


@pytest.mark.more
def test_a_pixelcnn_that_keeps_nothing_draws_its_samples(runs, images):
    prior = vqjax.Prior.load(runs / "prior")
    drawn, samples = (
        prior.complete(images, np.zeros((8, 8), bool), [3, 8, 0], seed=5),
        prior.sample(3, [3, 8, 0], seed=5),
    )
    np.testing.assert_array_equal(drawn.codes, samples.codes)
    np.testing.assert_allclose(drawn.images, samples.images, atol=1e-6)


def test_what_is_kept_stays_and_the_rest_is_drawn(prior, images):
    """Pixels bit for bit, and the codes whose squares are kept whole; the completions of an image follow each other."""
    keep, codes = keeping(BOX), prior.tokenizer.encode(images)
    drawn = prior.complete(images, keep, num=2, seed=7)
    real, known = (images / np.float32(255)).repeat(2, 0), np.zeros((4, 4), bool)
    known[1:3, 1:3] = True
    np.testing.assert_array_equal(drawn.images[:, keep], real[:, keep])
    np.testing.assert_array_equal(drawn.codes[:, known], codes.repeat(2, 0)[:, known])
    decoded = prior.tokenizer.decode(drawn.codes)
    np.testing.assert_allclose(drawn.images[:, ~keep], decoded[:, ~keep], atol=1e-6)
    assert np.all(np.any(drawn.codes[:, ~known] != codes.repeat(2, 0)[:, ~known], axis=1))
    assert np.all(np.any(drawn.codes[::2] != drawn.codes[1::2], axis=(1, 2)))
    again = prior.complete(images / 255, keep, num=2, seed=7)  # floats, as well
    np.testing.assert_array_equal(again.codes, drawn.codes)
    assert np.any(prior.complete(images, keep, num=2, seed=8).codes != drawn.codes)


def test_each_image_may_have_a_mask_of_its_own(prior, images):
    masks = np.stack([keeping(text) for text in (BOX, "upper", "left")])
    drawn, codes = prior.complete(images, masks), prior.tokenizer.encode(images)
    np.testing.assert_array_equal(drawn.images[masks], (images / np.float32(255))[masks])
    np.testing.assert_array_equal(drawn.codes[1, :2], codes[1, :2])
    np.testing.assert_array_equal(drawn.codes[2, :, :2], codes[2, :, :2])
    assert np.any(drawn.codes[1, :, :2] != codes[1, :, :2]) and np.any(drawn.codes[2, :2] != codes[2, :2])


def test_the_class_of_a_completion_may_be_another_or_none(prior, images):
    keep = keeping(BOX)
    none = prior.complete(images, keep, num=4)
    assert none.classes is None
    edited = prior.complete(images, keep, ["7", 8, 9], num=4)
    np.testing.assert_array_equal(edited.classes, [7] * 4 + [8] * 4 + [9] * 4)
    for other in (none, prior.complete(images, keep, 1, num=4)):
        assert np.any(other.codes != edited.codes)
        np.testing.assert_array_equal(other.codes[:, 1:3, 1:3], edited.codes[:, 1:3, 1:3])


# Drawing in steps, guidance, orders


def test_as_many_steps_as_codes_are_one_by_one(prior):
    whole = prior.sample(6, [3, 4], seed=5)
    np.testing.assert_array_equal(prior.sample(6, [3, 4], seed=5, steps=16).codes, whole.codes)
    fewer = prior.sample(6, [3, 4], seed=5, steps=4)
    assert np.any(fewer.codes != whole.codes)
    np.testing.assert_array_equal(prior.sample(3, [3, 4], seed=5, steps=4).codes, fewer.codes[:3])


def test_guidance_of_1_is_none(prior):
    plain = prior.sample(6, [3, 4], seed=5)
    np.testing.assert_array_equal(prior.sample(6, [3, 4], seed=5, guidance=1).codes, plain.codes)
    assert np.any(prior.sample(6, [3, 4], seed=5, guidance=9).codes != plain.codes)


def test_groups_are_the_best_by_what_the_evaluation_has_measured(runs, prior, tmp_path):
    nats = read_nats(runs / "transformer", prior.step)
    for steps, num_known in ((4, 0), (1, 0), (15, 0), (3, 6)):
        sizes, price, _ = prior.groups(steps, num_known)
        assert sum(sizes) == 16 and len(sizes) == steps + bool(num_known) and sizes[0] == (num_known or sizes[0])
        drawn = sizes[bool(num_known) :]
        starts = num_known + np.cumsum([0, *drawn[:-1]])
        np.testing.assert_allclose(price, np.dot(drawn, nats[starts]) / (16 - num_known))
    np.testing.assert_allclose(prior.groups(4).nats, prior.metrics["nats_by_steps_predicted"]["4"], rtol=1e-4)
    assert prior.groups(16) == prior.groups(10, num_known=6) == (None, None, None)
    prices = [prior.groups(steps).nats for steps in (1, 2, 4, 8)]
    assert prices == sorted(prices, reverse=True)
    for wrong in (-1, 17):
        with pytest.raises(InputError, match=f"^num_known={wrong}: expected"):
            prior.groups(4, wrong)


def test_groups_need_an_evaluation_of_that_step(runs, prior, tmp_path):
    """By `evaluate`, or by `evaluate --step`, whose figures lie beside those of the run."""
    run = tmp_path / "run"
    shutil.copytree(runs / "transformer", run)
    measured = (run / "nats_by_known.json").rename(tmp_path / "nats.json")
    with pytest.raises(InputError, match=f"^steps=4: .* of known codes at step {prior.step}; evaluate that step"):
        vqjax.Prior.load(run).groups(4)
    (run / "evaluations" / str(prior.step)).mkdir(parents=True)
    measured.rename(run / "evaluations" / str(prior.step) / "nats_by_known.json")
    assert vqjax.Prior.load(run).groups(4) == prior.groups(4)


def test_the_raster_is_an_order_like_others(prior, images):
    codes, order = prior.tokenizer.encode(images), np.random.default_rng(0).permutation(16)
    raster = prior.log_prob(codes, [3, 4, 5])
    np.testing.assert_allclose(prior.log_prob(codes, [3, 4, 5], np.arange(16)), raster, rtol=1e-5)
    shuffled = prior.log_prob(codes, [3, 4, 5], order)
    assert np.all(shuffled != raster) and np.all(shuffled < 0)
    rows = prior.log_prob(codes, [3, 4, 5], np.stack([np.arange(16), order, np.arange(16)]))
    np.testing.assert_allclose(rows, np.where([True, False, True], raster, shuffled), rtol=1e-5)
    assert np.all(prior.log_prob(codes) != raster)  # not told the class


# The part that is kept


@pytest.mark.parametrize(
    "text, top, bottom, left, right",
    [
        ("upper", 0, 3, 0, 6),
        ("left", 0, 7, 0, 3),
        ("2:5,1:4", 2, 5, 1, 4),
        (":5,1:", 0, 5, 1, 6),
        (":,:", 0, 7, 0, 6),
    ],
)
def test_parts_by_name_and_boxes(text, top, bottom, left, right):
    """Of 7 x 6 pixels."""
    expected = np.zeros((7, 6), bool)
    expected[top:bottom, left:right] = True
    np.testing.assert_array_equal(parse_keep(text, 7, 6), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_mask_keeps_white(tmp_path, mode):
    expected = np.random.default_rng(0).random((7, 6)) < 0.5
    Image.fromarray(np.where(expected, 255, 0).astype(np.uint8)).convert(mode).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(parse_keep(str(tmp_path / "mask.png"), 7, 6), expected)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "--keep=: expected upper, left, a box y0:y1,x0:x1 in pixels, or a mask"),
        ("lower", "--keep=lower: expected upper, left"),
        ("1:2", "--keep=1:2: expected upper, left"),
        ("-1:4,0:4", "--keep=-1:4,0:4: expected upper, left"),
        ("4:1,0:4", "--keep=4:1,0:4: expected a box inside of 7 x 6 pixels"),
        ("0:4,3:3", "expected a box inside of 7 x 6 pixels"),
        ("0:8,0:4", "expected a box inside of 7 x 6 pixels"),
        ("0:4,0:7", "expected a box inside of 7 x 6 pixels"),
        ("large.png", "large.png: 8 x 6 pixels, expected a mask of 7 x 6, the model's images"),
        ("text.png", "text.png: "),
        ("nowhere.png", "nowhere.png: "),
    ],
)
def test_parts_that_cannot_be_are_refused_in_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (6, 8)).save("large.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError) as error:
        parse_keep(text, 7, 6)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_masks_from_python_are_booleans_of_one_size():
    mask = np.random.default_rng(0).random((7, 6)) < 0.5
    np.testing.assert_array_equal(as_keep(mask.tolist(), 2, 7, 6), np.stack([mask, mask]))
    np.testing.assert_array_equal(as_keep(np.stack([mask, ~mask]), 2, 7, 6), np.stack([mask, ~mask]))
    for wrong in (mask.astype(np.uint8), mask.T, np.stack([mask] * 3), mask[None, None]):
        with pytest.raises(InputError, match="^--keep of (dtype uint8|shape .*): expected") as error:
            as_keep(wrong, 2, 7, 6)
        assert len(str(error.value).splitlines()) == 1


# Files


@pytest.fixture
def command(runs, tmp_path, capsys):
    """What `sample --json` says of the transformer, with more arguments."""

    def run(*words, out="out.png"):
        capsys.readouterr()
        assert (
            main(["sample", str(runs / "transformer"), "--out", str(tmp_path / out), "--json", *map(str, words)]) == 0
        )
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def saved_grids(monkeypatch):
    """What is given to `save_grid`, which does its work."""
    calls, save = [], plots.save_grid
    monkeypatch.setattr(
        plots, "save_grid", lambda *given, **more: calls.append((*given[1:], more)) or save(*given, **more)
    )
    return calls


def test_the_picture_shows_original_what_was_kept_and_completions(command, saved_grids, prior, digits, tmp_path):
    """Of images of test, by their numbers."""
    out = tmp_path / "out.png"
    words = ["--complete", "5,0", "--keep", BOX, "--num", 2, "--classes", "7,1", "--seed", 3, "--batch", 8]
    assert command(*words) == {"written": [str(out)]}
    real, keep = digits[[5, 0]], keeping(BOX)
    drawn = prior.complete(real, keep, [7, 1], 2, seed=3)
    images, captions, options = saved_grids[0]
    assert options == {"columns": 4} and captions == ["original", "kept", "7", "7", "original", "kept", "1", "1"]
    rows = images.reshape(2, 4, 8, 8, 1)
    np.testing.assert_array_equal(rows[:, 0], real / np.float32(255))
    np.testing.assert_array_equal(rows[:, 1][:, keep], rows[:, 0][:, keep])
    assert len(np.unique(rows[:, 1][:, ~keep])) == 1
    np.testing.assert_array_equal(rows[:, 2:].reshape(4, 8, 8, 1), drawn.images)
    with Image.open(out) as picture:
        assert picture.width > picture.height


def test_own_images_are_brought_to_the_models_size(command, prior, tmp_path):
    """And their completions are written as files, with a table."""
    (tmp_path / "own").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 12, 3), np.uint8)
    files = [tmp_path / "own" / name for name in ("a.png", "b.png")]
    for file, image in zip(files, pixels):
        Image.fromarray(image).save(file)
    words = ["--complete", tmp_path / "own", "--keep", BOX, "--num", 2, "--format", "png"]
    assert command(*words, out="new") == {"written": [str(tmp_path / "new")]}
    fitted = np.stack([read_image(file, (8, 8, 1))[0] for file in files])
    drawn = prior.complete(fitted, keeping(BOX), num=2)
    names = [f"{number:05}.png" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [*names, "completions.csv"]
    for name, image in zip(names, drawn.images):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / name)), np.round(255 * image[..., 0]))
    with (tmp_path / "new" / "completions.csv").open() as file:
        originals = [str(path) for path in files for _ in range(2)]
        assert [*csv.reader(file)] == [["file", "original", "class"], *([*row, ""] for row in zip(names, originals))]


def test_images_are_scored(command, saved_grids, prior, digits, tmp_path, capsys):
    """The shade below an image is the nats of its codes, each over its square."""
    result = command("--likelihood", "5,0,7", "--classes", "3,4,5")
    codes = prior.tokenizer.encode(digits[[5, 0, 7]])
    nats, by_place = -prior.log_prob(codes, [3, 4, 5]), prior.nats_by_place(codes, [3, 4, 5])[""]
    assert [score["file"] for score in result["images"]] == ["test 5", "test 0", "test 7"]
    np.testing.assert_allclose([score["nats_per_code"] for score in result["images"]], nats / 16, rtol=1e-5)
    images, captions, options = saved_grids[0]
    np.testing.assert_array_equal(images, digits[[5, 0, 7]] / np.float32(255))
    squares = (by_place / by_place.max()).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(options["below"][..., 0], squares, rtol=1e-5)
    assert [f"{value:.2f}" in caption for value, caption in zip(nats / 16, captions)] == [True] * 3
    assert result["written"][0] == str(tmp_path / "out.png") and (tmp_path / "out.png").stat().st_size > 1000


def test_samples_in_steps_with_guidance_are_those_of_python(command, prior, tmp_path):
    command("--num", 6, "--classes", "3,4", "--steps", 4, "--guidance", 9, "--seed", 5)
    drawn = prior.sample(6, [3, 4], seed=5, steps=4, guidance=9)
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["codes"], drawn.codes)


# Refusals, before anything is compiled

IMAGES, HOLE = np.zeros((3, 8, 8, 1), np.uint8), np.ones((8, 8), bool)
HOLE[:2, :2] = False
CODES = np.zeros((3, 4, 4), int)
WRONG = [
    ("transformer", "complete", (IMAGES, HOLE[:7]), {}, r"^keep of shape \(7, 8\): expected \(8, 8\)"),
    ("transformer", "complete", (IMAGES, CODES[0]), {}, "^keep of dtype int64: expected bool"),
    ("transformer", "complete", (IMAGES.repeat(2, 1), HOLE), {}, "^images of 16 x 8 pixels: expected 8 x 8, as in"),
    ("transformer", "complete", (IMAGES[0], HOLE), {}, r"^images of shape \(8, 8, 1\): .*; one image\? images\[None\]"),
    ("transformer", "complete", (IMAGES - 1.0, HOLE), {}, "^images from -1 to -1: expected uint8"),
    ("transformer", "complete", (IMAGES, HOLE, [1, 2]), {}, "^2 classes for 3 images: expected one for each, or one"),
    ("transformer", "complete", (IMAGES, HOLE), {"num": 0}, "^num=0: expected at least 1"),
    ("transformer", "complete", (IMAGES, HOLE), {"steps": 17}, "^steps=17: expected from 1 to 16, the number of codes"),
    ("transformer", "complete", (IMAGES, HOLE), {"guidance": -1}, "^guidance=-1.0: expected at least 0"),
    ("transformer", "complete", (IMAGES, HOLE), {"batch": 0}, "^batch=0: expected at least 1"),
    ("transformer", "sample", (3,), {"steps": 17}, "^steps=17: expected from 1 to 16, the number of codes"),
    ("transformer", "sample", (3,), {"steps": 0}, "^steps=0: expected from 1 to 16"),
    ("transformer", "log_prob", (CODES + 16, 1), {}, "^codes from 16 to 16: expected 0 to 15"),
    ("transformer", "log_prob", (CODES, 1, np.arange(15)), {}, "^order: expected a permutation of the numbers 0 to 15"),
    ("transformer", "likelihood_files", (["0,1,2"], [1, 2]), {}, "^2 classes for 3 images"),
    ("transformer", "likelihood_files", (["0,360"],), {}, "^360: test has 360 images, expected numbers from 0 to 359"),
    ("transformer", "complete_files", (["0"], "2:1,0:8"), {}, "^keep=2:1,0:8: expected a box inside of 8 x 8 pixels"),
    ("transformer", "complete_files", (["0"],), {"format": "jpg"}, "^format='jpg' is unknown"),
    ("transformer", "complete_files", (["0"],), {"out": "a.jpg"}, "^out=.*a.jpg: expected a path that ends in .png"),
    ("transformer", "complete_files", (["nowhere.png"],), {}, "^nowhere.png: "),
    ("pixelcnn", "complete", (IMAGES, HOLE, 1), {}, "^keep: expected to keep codes from the upper left on, row by row"),
    ("pixelcnn", "complete", (IMAGES, HOLE[::-1, ::-1]), {}, "^classes: .* this prior always knows the class"),
    ("pixelcnn", "complete", (IMAGES, HOLE[::-1, ::-1], 1), {"steps": 4}, "^steps=4: expected 16, one code per step"),
    (
        "pixelcnn",
        "sample",
        (3,),
        {"guidance": 2},
        "^guidance=2.0: expected 1, this prior knows no images without a class",
    ),
    ("pixelcnn", "log_prob", (CODES, 1, np.arange(16)[::-1]), {}, "^order: expected raster order"),
]


def untrained(runs, **model):
    """A prior with its first weights."""
    task = task_of(small_prior(runs / "tokenizer", **model))
    return vqjax.Prior(runs.root / "untrained", task, jax.jit(task.init)(jax.random.key(0)), 0)


@pytest.mark.parametrize("kind, method, arguments, options, message", WRONG)
def test_what_cannot_be_done_is_refused_in_one_line(runs, kind, method, arguments, options, message, monkeypatch):
    prior = untrained(runs, prior=kind) if kind == "pixelcnn" else vqjax.Prior.load(runs / kind)
    monkeypatch.setattr(Pmap, "compile", None)
    with pytest.raises(ValueError, match=message) as error:
        getattr(prior, method)(*arguments, **options)
    assert len(str(error.value).splitlines()) <= 1 + ("unknown" in message)


def test_a_prior_without_classes_has_nothing_to_guide(runs, monkeypatch):
    prior = untrained(runs, prior="transformer", class_conditional=False)
    monkeypatch.setattr(Pmap, "compile", None)
    for use in (lambda: prior.sample(3, guidance=2), lambda: prior.complete(IMAGES, HOLE, guidance=2)):
        with pytest.raises(InputError, match="^guidance=2.0: expected 1, this prior has no classes") as error:
            use()
        assert len(str(error.value).splitlines()) == 1
