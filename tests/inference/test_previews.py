"""Images from the first of their codes: fewer levels, fewer codes per position."""

import numpy as np
import pytest
from conftest import small_autoencoder
from PIL import Image
from tiny import short

import vqjax
from vqjax.__main__ import main
from vqjax.codes import CodeLayout, Level, single_level
from vqjax.system.errors import InputError
from vqjax.training import loop


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
    with pytest.raises(InputError, match="codes: expected a dict of top, found a dict of bottom"):
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
        ("depth", {"depth": 4}, "--depth=4: expected from 1 to 3, of 4 x 4 x 3 codes of 16"),
        ("depth", {"depth": 0}, "--depth=0: expected from 1 to 3"),
        ("depth", {"levels": ["top"]}, "--levels=top: expected none, of 4 x 4 x 3 codes of 16"),
        ("levels", {"levels": ["bottom"]}, "--levels=bottom: expected top or top,bottom, of top 2 x 2 codes of 8"),
        ("levels", {"depth": 2}, "--depth=2: expected from 1 to 1"),
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
