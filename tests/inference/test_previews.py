"""Images from the first of their codes: fewer levels, fewer codes per position."""

import json

import jax
import numpy as np
import pytest
from conftest import slow_but, small_autoencoder
from helpers import dataset_of
from PIL import Image
from tiny import short, small_prior

import vqjax
from vqjax.__main__ import main
from vqjax.codes import CodeLayout, Level, single_level
from vqjax.data import datasets
from vqjax.inference.reconstruction import Reconstructor
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop

pytestmark = pytest.mark.more


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Tiny trained tokenizers: three codes per position, and two levels."""
    directory, models = tmp_path_factory.mktemp("previews"), {}
    for name in ("depth", "levels"):
        config = short(small_autoencoder())
        if name == "depth":
            config.model.quantizer = "residual"
            config.model.residual.depth = 3
        else:
            config.model.codec = "hierarchical"
            config.model.hierarchical.top.num_codes = 8
            config.model.hierarchical.bottom.update(num_codes=12, stages=1)
        assert loop.train(config, directory / name) == 0
        models[name] = vqjax.Tokenizer.load(directory / name)
    return models


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)


def test_the_first_codes_of_each_position(tokenizers, images):
    """Their vectors are added up; all of them give the reconstruction."""
    model = tokenizers["depth"]
    codes, functions = model.encode(images), model.functions()
    assert codes.shape == (3, 4, 4, 3)
    for depth in (1, 2, 3):
        z_q = sum(model.codebook[level][codes[..., level]] for level in range(depth))
        np.testing.assert_allclose(
            model.decode(codes[..., :depth]), functions.decode(functions.variables, z_q), atol=1e-6
        )
    np.testing.assert_array_equal(model.decode(codes), model.reconstruct(images))


def test_the_top_alone(tokenizers, images):
    model = tokenizers["levels"]
    codes = model.encode(images)
    top = model.decode({"top": codes["top"]})
    assert top.shape == images.shape and np.any(top != model.decode(codes))
    other = {**codes, "bottom": (codes["bottom"] + 1) % 12}
    np.testing.assert_array_equal(model.decode({"top": other["top"]}), top)
    np.testing.assert_array_equal(model.decode(codes), model.reconstruct(images))
    with pytest.raises(InputError, match="codes: expected a dict of top, bottom, found a dict of bottom"):
        model.decode({"bottom": codes["bottom"]})


def test_the_command_decodes_a_part(tokenizers, images, tmp_path):
    for name, words in {"depth": ["--depth", "1"], "levels": ["--levels", "top"]}.items():
        model = tokenizers[name]
        codes, file, out = model.encode(images), tmp_path / f"{name}.npz", tmp_path / name
        np.savez(file, **model.layout.split(codes))
        assert main(["decode", "--workdir", str(model.path), "--codes", str(file), "--out", str(out), *words]) == 0
        expected = model.decode(codes[..., :1] if name == "depth" else {"top": codes["top"]})
        found = np.load(out / "images.npy")
        np.testing.assert_array_equal(found, np.round(255 * expected).astype(np.uint8))


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("depth", {"depth": 4}, "^depth=4: expected from 1 to 3, of 4 x 4 x 3 codes of 16"),
        ("depth", {"depth": 0}, "^depth=0: expected from 1 to 3"),
        ("depth", {"levels": ["top"]}, "^levels=top: expected none, of 4 x 4 x 3 codes of 16"),
        ("levels", {"levels": ["bottom"]}, "^levels=bottom: expected top or top,bottom, of top 2 x 2 codes of 8"),
        ("levels", {"depth": 2}, "^depth=2: expected from 1 to 1"),
    ],
)
def test_a_part_that_is_none_is_refused(tokenizers, images, tmp_path, name, fields, message):
    model = tokenizers[name]
    np.savez(tmp_path / "codes.npz", **model.layout.split(model.encode(images)))
    with pytest.raises(InputError, match=message):
        model.decode_file(tmp_path / "codes.npz", tmp_path / "out", **fields)
    assert not (tmp_path / "out").exists()


def test_a_run_shows_previews_side_by_side(tokenizers):
    """The original, then one, two and three codes; or the top, then both levels."""
    for name, count in {"depth": 4, "levels": 3}.items():
        with Image.open(tokenizers[name].path / "previews.png") as picture:
            assert picture.width > 8 * count


@pytest.mark.parametrize("name, bits", [("depth", 3 * np.log2(16)), ("levels", np.log2(8) / 4 + np.log2(12))])
def test_images_of_any_size_are_reconstructed(tokenizers, tmp_path, name, bits):
    """Tile by tile, as at once; with the bits of all codes."""
    image = np.random.default_rng(1).integers(0, 256, (24, 40, 1), np.uint8)
    stage1 = Stage1(tokenizers[name].path)
    small, large = (Reconstructor(stage1, tile)(image) for tile in (8, 64))
    np.testing.assert_array_equal(small.image, large.image)
    jax.tree.map(np.testing.assert_array_equal, small.codes, large.codes)
    np.testing.assert_allclose(small.bits_per_pixel, bits / 4)
    Image.fromarray(image[:13, :21, 0]).save(tmp_path / "odd.png")
    _, (row,) = tokenizers[name].reconstruct_files([tmp_path / "odd.png"], tmp_path / "out.png")
    assert (row.width, row.height) == (21, 13) and (tmp_path / "out.png").exists()


VIEWS = {"depth": ["code 1 of 3", "code 2 of 3", "code 3 of 3"], "levels": ["top", "bottom"]}


def views_on(page):
    """Contents of a page, by the names of its tabs."""
    return json.loads(page.read_text("utf-8").split('id="data">')[1].split("</script>")[0])["views"]


@pytest.mark.parametrize("name", VIEWS)
def test_the_page_has_a_tab_for_each_grid(tokenizers, tmp_path, name):
    model = tokenizers[name]
    views = views_on(model.explore(tmp_path / "page.html", num=5))
    assert [*views] == VIEWS[name]
    test = datasets.load_splits(dataset_of(model.config), ("test",))["test"].arrays["image"]
    codes = model.encode(test)
    grids = codes if name == "levels" else {view: codes[..., d] for d, view in enumerate(VIEWS[name])}
    for view, grid in grids.items():
        found = views[view]
        assert found["grid"] == list(grid.shape[1:])
        np.testing.assert_array_equal(
            found["codes"]["uses"], np.bincount(grid.reshape(-1), minlength=16)[: len(found["codes"]["uses"])]
        )
        np.testing.assert_array_equal(found["images"]["codes"], grid[found["images"]["rows"]].reshape(5, -1))
        assert len(found["codes"]["colors"]) == found["codes"]["alone"]["count"] and found["samples"] is None
        assert sum(found["codes"]["patch_counts"]) == found["codes"]["patches"]["count"]
    sizes = {view: found["codes"]["alone"]["size"] for view, found in views.items()}
    assert sizes == ({"top": [12, 12], "bottom": [6, 6]} if name == "levels" else dict.fromkeys(VIEWS[name], [6, 6]))


@pytest.mark.parametrize("name", slow_but("levels", VIEWS))
def test_a_transformer_over_all_of_it_is_on_the_page(tokenizers, tmp_path, name):
    """Samples in each tab, with the probabilities of its codes; and completions keep the codes of every level."""
    model = tokenizers[name]
    config = small_prior(model.path)
    config.model.prior = "transformer"
    config.model.transformer.update(width=16, layers=2, heads=2)
    assert loop.train(config, tmp_path / "prior") == 0
    prior = vqjax.Prior.load(tmp_path / "prior")
    views = views_on(prior.explore(num=4))
    drawn = prior.sample(4, [0, 1, 2, 3])
    nats = prior.nats_by_place(drawn.codes, [0, 1, 2, 3])
    for view, suffix in zip(VIEWS[name], nats):
        found = views[view]["samples"]
        np.testing.assert_allclose(found["nats"], nats[suffix].sum((1, 2)), atol=0.051)
        np.testing.assert_array_equal(
            found["codes"], model.layout.maps(model.layout.flatten(drawn.codes))[suffix].reshape(4, -1)
        )
    test = np.random.default_rng(2).integers(0, 256, (2, 8, 8, 1), np.uint8)
    keep = np.zeros((8, 8), bool)
    keep[:, 4:] = True
    completed = prior.complete(test, keep, num=2)
    kept = jax.tree.map(lambda codes: codes.repeat(2, 0), model.encode(test))
    right = lambda codes: codes[:, :, codes.shape[2] // 2 :]  # noqa: E731
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(right(a), right(b)), completed.codes, kept)


def test_previews_by_hand():
    deep = single_level((1, 1), 4, 5)
    codes = np.arange(5).reshape(1, 1, 1, 5)
    assert [part.shape[-1] for part in deep.previews(codes)] == [1, 2, 4, 5]
    assert [part.shape for part in single_level((1, 1), 4).previews(codes[..., 0])] == [(1, 1, 1)]
    both = CodeLayout((Level("top", (1, 1), 4, 2), Level("bottom", (2, 2), 4)))
    found = both.previews({"top": codes[..., :2], "bottom": np.zeros((1, 2, 2))})
    assert [{name: grid.shape for name, grid in part.items()} for part in found] == [
        {"top": (1, 1, 1, 1)},
        {"top": (1, 1, 1, 2)},
        {"top": (1, 1, 1, 2), "bottom": (1, 2, 2)},
    ]
