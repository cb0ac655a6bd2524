"""Codes of several levels, and of several per position, through everything that can be done with them."""

import json

import jax
import numpy as np
import pytest
from conftest import more_but
from helpers import command, task_of
from tiny import LAYOUTS, small_code_classifier, vectors_in

import vqjax
from vqjax.__main__ import main
from vqjax.codes import CodeLayout
from vqjax.inference.exports.reading import read_exported
from vqjax.system.errors import InputError

pytest_plugins = "inference_fixtures"


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), np.uint8)


def arrays_of(codes, layout):
    return {name: (array.shape[1:], array.dtype) for name, array in layout.split(codes).items()}


def test_codes_are_what_the_layout_says(layered, images):
    kind, directory = layered
    tokenizer = vqjax.Tokenizer.load(directory / "tokenizer")
    assert str(tokenizer.layout) == kind.layout
    codes = tokenizer.encode(images)
    assert arrays_of(codes, tokenizer.layout) == {name: (shape, np.int32) for name, shape in kind.shapes.items()}
    assert isinstance(codes, dict) == (len(kind.shapes) > 1)
    decoded = tokenizer.decode(codes)
    np.testing.assert_array_equal(decoded, tokenizer.reconstruct(images))
    assert np.ptp(decoded) > 0
    larger = tokenizer.encode(np.zeros((2, 16, 24, 1), np.uint8))
    assert tokenizer.decode(larger).shape == (2, 16, 24, 1)


def test_vectors_of_each_level_are_those_of_its_codes(layered, images):
    _, directory = layered
    tokenizer = vqjax.Tokenizer.load(directory / "tokenizer")
    encode, decode, variables = tokenizer.functions()
    vectors = encode(variables, images, vectors=True)
    lookup = tokenizer._task.lookup(variables, encode(variables, images))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), vectors.z_q, lookup)
    np.testing.assert_allclose(decode(variables, vectors.z_q), tokenizer.reconstruct(images), atol=1e-5)
    jax.tree.map(
        lambda book, codes, z_q: np.testing.assert_allclose(vectors_in(book, codes), z_q, atol=1e-5),
        *(tokenizer.codebook, tokenizer.encode(images), vectors.z_q),
    )


def test_samples_and_their_probabilities(layered):
    kind, directory = layered
    prior = vqjax.Prior.load(directory / "prior")
    samples, layout = prior.sample(6, classes=[3, 4]), prior.tokenizer.layout
    assert arrays_of(samples.codes, layout) == {name: (shape, np.int32) for name, shape in kind.shapes.items()}
    np.testing.assert_allclose(prior.tokenizer.decode(samples.codes), samples.images, atol=1e-6)
    table = np.asarray(jax.nn.log_softmax(prior._task.weights(prior._variables)["params"]["table"]))[samples.classes]
    possible = np.arange(layout.max_codes) < layout.num_codes[:, None]
    table = np.where(possible, table, -np.inf)
    table = table - np.log(np.exp(table).sum(-1, keepdims=True))
    expected = np.take_along_axis(table, layout.flatten(samples.codes)[..., None], -1)[..., 0].sum(1)
    np.testing.assert_allclose(prior.log_prob(samples.codes, samples.classes), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="expected"):
        prior.log_prob(tokenizer_codes_without_an_axis(samples.codes), samples.classes)


def tokenizer_codes_without_an_axis(codes):
    return codes["fine"] if isinstance(codes, dict) else codes[..., 0]


def test_samples_are_written_by_the_names_of_the_layout_and_decoded_again(layered, tmp_path, capsys):
    kind, directory = layered
    out = tmp_path / "samples.png"
    main(["sample", str(directory / "prior"), "--num", "5", "--out", str(out)])
    with np.load(tmp_path / "samples.npz") as file:
        assert {name: file[name].shape[1:] for name in file.files if name.startswith("codes")} == kind.shapes
        drawn = file["images"]
    main(
        ["decode", str(directory / "tokenizer"), "--codes", str(tmp_path / "samples.npz"), "--out", str(tmp_path / "o")]
    )
    np.testing.assert_array_equal(np.load(tmp_path / "o" / "images.npy"), drawn)


@pytest.mark.parametrize("form", more_but("numpy", ["numpy", "parquet", "nanogpt"]))
def test_exported_codes_come_back(layered, form, tmp_path, capsys):
    _, directory = layered
    tokenizer, split = vqjax.Tokenizer.load(directory / "tokenizer"), [] if form == "nanogpt" else ["--split", "test"]
    words = ["export", "codes", str(directory / "tokenizer"), "--format", form, "--out", str(tmp_path / "out"), *split]
    assert main(words) == 0
    path = tmp_path / "out" / "val.bin" if form == "nanogpt" else tmp_path / "out"
    rows, description = read_exported(path, tokenizer.layout)
    assert description["layout"] == tokenizer.layout
    main(["decode", str(directory / "tokenizer"), "--codes", str(path), "--out", str(tmp_path / "images")])
    images = np.load(tmp_path / "images" / "images.npy")
    expected = tokenizer.decode(tokenizer.layout.join(rows.arrays))
    assert images.shape == (360, 8, 8, 1)
    np.testing.assert_allclose(images, 255 * expected, atol=0.501)


RUN = """
import sys, jax, numpy as np
from pathlib import Path
directory = Path(sys.argv[1])
files = [directory / f"{name}.stablehlo" for name in ("encode", "decode")]
encode, decode = (jax.export.deserialize(file.read_bytes()) for file in files)
codes = encode.call(np.load(directory / "given.npy"))
codes = codes if isinstance(codes, tuple | list) else [codes]
np.savez(directory / "result.npz", *codes, images=decode.call(*codes))
"""


def test_programs_have_an_array_for_each_level(layered, images, tmp_path):
    kind, directory = layered
    tokenizer = vqjax.Tokenizer.load(directory / "tokenizer")
    out = tokenizer.export(tmp_path / "out")
    np.save(out / "given.npy", images)
    result = command("-c", RUN, out)
    assert result.returncode == 0, result.stderr
    codes = tokenizer.encode(images)
    with np.load(out / "result.npz") as file:
        for number, array in enumerate(tokenizer.layout.split(codes).values()):
            np.testing.assert_array_equal(file[f"arr_{number}"], array)
        np.testing.assert_allclose(file["images"], tokenizer.decode(codes), atol=1e-5)
    config = json.loads((out / "config.json").read_text())
    assert CodeLayout.from_json(config["levels"]) == tokenizer.layout
    several = config["programs"]["encode"]["output"]
    assert len(several if isinstance(several, list) else [several]) == len(kind.shapes)


def test_what_cannot_take_a_layout_says_so_in_one_line(layered):
    """A classifier of codes takes one grid, whatever its depth."""
    kind, directory = layered
    config = small_code_classifier(directory / "tokenizer")
    if len(kind.shapes) == 1:
        assert task_of(config).input_shape[:2] == (4, 4)
        return
    with pytest.raises(InputError, match=f"expected codes on one grid, config.stage1 has {kind.layout}$") as error:
        task_of(config)
    assert len(str(error.value).splitlines()) == 1


WRONG = {
    "levels": [
        (lambda codes: codes["fine"], "codes: expected a dict of coarse, fine, found ndarray"),
        (lambda codes: {"fine": codes["fine"]}, "expected a dict of coarse, fine, found a dict of fine"),
        (lambda codes: {**codes, "fine": codes["fine"][:1]}, "expected as many images in each"),
        (lambda codes: {**codes, "fine": codes["fine"][:, :2]}, "and grids like coarse 2 x 2"),
        (lambda codes: {**codes, "fine": codes["fine"] + 16}, r"codes\['fine'\] from 16 to 31: expected 0 to 15"),
    ],
    "depth": [
        (lambda codes: codes[..., 0], r"codes of shape \(2, 4, 4\): expected \(N, h, w, 1 to 2\)"),
        (lambda codes: codes.repeat(2, -1), r"codes of shape \(2, 4, 4, 4\): expected \(N, h, w, 1 to 2\)"),
    ],
}


def test_codes_of_another_layout_are_refused(layered):
    kind, directory = layered
    tokenizer = vqjax.Tokenizer.load(directory / "tokenizer")
    rng = np.random.default_rng(0)
    codes = {name: np.resize(np.arange(16 if "_" in name else 8), (2, *shape)) for name, shape in kind.shapes.items()}
    codes = tokenizer.layout.join({name: rng.permuted(array) for name, array in codes.items()})
    name = next(name for name, other in LAYOUTS.items() if other is kind)
    for change, message in WRONG[name]:
        with pytest.raises(ValueError, match=message):
            tokenizer.decode(change(codes))
