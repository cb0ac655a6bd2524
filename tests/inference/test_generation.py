"""From a prior's workdir to a picture and arrays, in one process."""

import shutil

import numpy as np
import pytest
from conftest import fake
from helpers import dataset_of
from PIL import Image

from vqjax.data import datasets
from vqjax.inference import generation
from vqjax.inference.export_codes import export_codes
from vqjax.runs import plots
from vqjax.runs.devices import PARALLEL
from vqjax.system.errors import InputError
from vqjax.training import loop

DEFAULTS = dict(num=12, classes=None, seed=0, batch=64, neighbours=False, stage1=None, step=None, out=None)


@pytest.fixture
def prior(prior_config, tmp_path):
    """The workdir of a tiny trained prior."""
    assert loop.train(prior_config, tmp_path / "prior") == 0
    return tmp_path / "prior"


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_every_argument_does_something(prior, stage1, tmp_path):
    """Checked on one run, since a run takes seconds."""

    def draw(**arguments):
        picture, beside = generation.sample(str(prior), **{**DEFAULTS, **arguments})
        assert beside == picture.with_suffix(".npz")
        with Image.open(picture) as image:
            return image.size, arrays(beside)

    size, default = draw()
    assert (prior / "samples.png").is_file()
    assert default["images"].shape == (12, 8, 8, 1) and default["codes"].shape == (12, 4, 4)
    np.testing.assert_array_equal(default["classes"], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])

    _, more = draw(num=15, batch=4)
    np.testing.assert_array_equal(more["codes"][:12], default["codes"])
    _, named = draw(classes="7, 3,0")
    np.testing.assert_array_equal(named["classes"], [7, 3, 0] * 4)
    for arguments in ({"seed": 1}, {"temperature": 0.1}, {"top_p": 0.05}, {"classes": "7"}):
        assert not np.array_equal(draw(**arguments)[1]["codes"], default["codes"]), arguments
    _, greedy = draw(top_k=1, seed=5)
    np.testing.assert_array_equal(greedy["codes"], draw(top_k=1, seed=6)[1]["codes"])
    draw(out=str(tmp_path / "other.png"))
    assert (tmp_path / "other.png").is_file() and (tmp_path / "other.npz").is_file()

    taller, with_neighbours = draw(neighbours=True)
    assert 0 <= taller[0] - size[0] < 56 and taller[1] > 1.5 * size[1]  # as many columns, pairs further apart
    real = datasets.load_splits(dataset_of_prior, ("train",))["train"].arrays["image"].astype(float)
    assert len(real) == 1293  # without the validation share, which the prior has not seen
    distances = ((with_neighbours["images"][:, None] - real) ** 2).sum((2, 3, 4))
    np.testing.assert_array_equal(with_neighbours["neighbours"], real[distances.argmin(1)])

    shutil.move(stage1, tmp_path / "moved")
    with pytest.raises(InputError, match="stage 1 is no longer in .*: name the place with --stage1"):
        draw()
    np.testing.assert_array_equal(draw(stage1=str(tmp_path / "moved"))[1]["codes"], default["codes"])


def test_pmap_and_shard_map_draw_the_same(prior):
    """On eight devices, in batches that they do not divide."""
    task, variables = generation.load_prior(str(prior))
    labels, drawn = np.arange(19) % 10, []
    for how in PARALLEL:
        task.config.parallel = how
        drawn.append(generation.generate(task, variables, labels, batch=10))
    codes, images = drawn[0]
    assert codes.shape == (19, *task.grid) and images.shape == (19, 8, 8, 1)
    for other in drawn[1:]:
        np.testing.assert_array_equal(other[0], codes)
        np.testing.assert_array_equal(other[1], images)
    decoded = task.stage1.decode(task.stage1.variables, codes.astype(np.int32))
    np.testing.assert_allclose(images, 255 * np.asarray(decoded), atol=0.501)


@pytest.mark.slow
def test_images_and_codes_that_are_not_square(small_config, prior_config, tmp_path, monkeypatch):
    """From stage 1 to samples and exported codes: 8 x 12 pixels, 4 x 6 codes."""
    names = tuple(f"class {i}" for i in range(3))
    monkeypatch.setitem(datasets.DATASETS, "oblong", fake((8, 12, 1), names))
    small_config.data.name = "oblong"
    assert loop.train(small_config, tmp_path / "oblong") == 0
    prior_config.stage1 = str(tmp_path / "oblong")
    assert loop.train(prior_config, tmp_path / "prior") == 0
    _, beside = generation.sample(str(tmp_path / "prior"), **{**DEFAULTS, "classes": "class 2,0"})
    found = arrays(beside)
    assert found["images"].shape == (12, 8, 12, 1) and found["codes"].shape == (12, 4, 6)
    np.testing.assert_array_equal(found["classes"], [2, 0] * 6)
    export_codes(str(tmp_path / "oblong"), "test", str(tmp_path / "codes"))
    assert np.load(tmp_path / "codes" / "test_codes.npy").shape == (40, 4, 6)


@pytest.mark.parametrize(
    "count, width, period, columns",
    [
        (64, 28, 1, 16),
        (80, 28, 10, 10),
        (40, 28, 2, 10),
        (7, 28, 1, 7),
        (64, 256, 1, 4),
        (64, 32, 1, 16),
        (40, 28, 100, 10),
    ],
)
def test_as_many_columns_as_fit(tmp_path, count, width, period, columns):
    """With no gap in the last row, and each class below itself, where that is possible."""
    plots.save_grid(tmp_path / "grid.png", np.zeros((count, width, width, 3)), period=period)
    with Image.open(tmp_path / "grid.png") as picture:
        tile = width * -(-56 // width) + 2
        assert picture.size == (columns * tile + 2, -(-count // columns) * tile + 2)


@pytest.mark.parametrize("period", [1, 10])
def test_captions_fit_under_their_images(tmp_path, period):
    """Small images are enlarged until they do."""
    columns = 10
    captions = ["automobile", "T-shirt/top", "cat", "aquarium_fish"] * 5
    plots.save_grid(tmp_path / "grid.png", np.zeros((20, 32, 32, 3)), captions, period=period)
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    tile = (pixels.shape[1] - 2) // columns - 2
    assert tile % 32 == 0
    height = (pixels.shape[0] - 2) // (20 // columns) - 2
    band = pixels[2 + tile : 2 + height]  # the first row's captions
    for i in range(columns + 1):
        gap = band[:, i * (tile + 2) : i * (tile + 2) + 2]
        assert gap.min() > 200  # no letter between two tiles


@pytest.mark.slow
def test_a_prior_without_classes(prior_config, tmp_path):
    prior_config.model.class_conditional = False
    prior_config.steps = 2
    assert loop.train(prior_config, tmp_path / "prior") == 0
    _, beside = generation.sample(str(tmp_path / "prior"), **DEFAULTS)
    assert "classes" not in arrays(beside)
    with pytest.raises(InputError, match="--classes=3: this prior was trained without classes"):
        generation.sample(str(tmp_path / "prior"), **{**DEFAULTS, "classes": "3"})


def test_bad_input_is_refused_and_nothing_written(prior, stage1, tmp_path):
    (tmp_path / "folder.png").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for workdir, arguments, message in (
        (stage1, {}, "--workdir=.* holds a run of task 'autoencoder', expected 'prior'"),
        (tmp_path / "nowhere", {}, "expected a run, found no config.json"),
        (prior, {"classes": "3,ten"}, "--classes: 'ten' is unknown.*\nKnown: 0, 1.*numbers from 0 to 9"),
        (prior, {"classes": "10"}, "'10' is unknown"),
        (prior, {"temperature": 0.0}, "--temperature=0.0: expected at least 1e-06"),
        (prior, {"temperature": float("nan")}, "--temperature=nan: expected at least 1e-06"),
        (prior, {"top_k": 17}, "--top_k=17: expected at most the 16 codes of stage 1"),
        (prior, {"top_k": -1}, "--top_k=-1: expected at least 0"),
        (prior, {"top_p": 1.5}, "--top_p=1.5: expected greater than 0 and at most 1"),
        (prior, {"num": 0}, "--num=0: expected at least 1"),
        (prior, {"batch": 0}, "--batch=0: expected at least 1"),
        (prior, {"seed": -1}, "--seed=-1: expected at least 0"),
        (prior, {"step": 3}, "--step=3: no such checkpoint"),
        (prior, {"stage1": str(prior)}, "--stage1=.* holds a run of task 'prior', expected 'autoencoder'"),
        (prior, {"out": "samples.jpg"}, "--out=.*samples.jpg: expected a path that ends in .png"),
        (prior, {"out": str(tmp_path / "no" / "s.png")}, "in a directory that exists"),
        (prior, {"out": str(tmp_path / "folder.png")}, "expected files that can be written"),
    ):
        with pytest.raises(InputError, match=message):
            generation.sample(str(workdir), **{**DEFAULTS, **arguments})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
