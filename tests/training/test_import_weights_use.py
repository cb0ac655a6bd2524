"""Runs of published weights where runs are taken: by commands and by a prior."""

import json

import numpy as np
import pytest
from conftest import slow_but, small_prior
from PIL import Image
from published import command, random_images, save
from test_import_weights_dall_e import networks as dall_e_networks  # noqa: F401  (a fixture)
from test_import_weights_vqgan import checkpoint, published

import vqjax
from vqjax import __main__
from vqjax.training import loop


@pytest.fixture
def folder(tmp_path):
    """Images of two classes, (32, 40) pixels."""
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i, image in enumerate(random_images(32, 40, 24)):
            Image.fromarray(image).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def write_files(source, request, path):
    if source == "vqgan":
        network = published("VQModel", ch_mult=[1, 1], num_res_blocks=1, attn_resolutions=[])
        return [save(checkpoint(network), path / "last.ckpt")]
    networks = request.getfixturevalue("dall_e_networks")
    return [save(network, path / f"{i}.pkl") for i, network in enumerate(networks)]


@pytest.mark.more
@pytest.mark.parametrize("source", slow_but("vqgan", ["dall-e", "vqgan"]))
def test_what_takes_a_finished_run_takes_it(source, request, folder, tmp_path):
    run = tmp_path / "run"
    files = write_files(source, request, tmp_path)
    assert command(source, *files, "--out", run, "--size", "32x40", "--data_path", folder) == 0
    facts = json.loads((run / "run.json").read_text())
    assert facts["class_names"] == ["cat", "dog"] and facts["image_shape"] == [32, 40, 3]
    assert facts["converted"]["program"] == source
    assert [len(checksum) for checksum in facts["converted"]["files"].values()] == len(files) * [64]
    for words in (
        ["evaluate", "--workdir", run],
        ["explore", "--workdir", run, "--num", "4", "--out", tmp_path / "page.html"],
        ["export", "codes", "--workdir", run, "--split", "test", "--out", tmp_path / "codes"],
        ["export", "tokenizer", "--workdir", run, "--out", tmp_path / "tokenizer"],
        ["reconstruct", "--workdir", run, "--out", tmp_path / "both.png", folder / "cat" / "1.png"],
    ):
        assert not __main__.main([*map(str, words)])
    metrics = json.loads((run / "eval.json").read_text())
    assert np.isfinite(metrics["loss"]) and metrics["codes_used"] > 1
    assert all((tmp_path / name).exists() for name in ("page.html", "codes", "tokenizer", "both.png"))
    config = small_prior(run)
    config.steps = 2
    assert loop.train(config, tmp_path / "prior") == 0
    samples = vqjax.load(tmp_path / "prior").sample(2)
    assert samples.images.shape == (2, 32, 40, 3) and np.isfinite(samples.images).all()


@pytest.mark.slow
def test_the_images_may_be_named_later(request, folder, tmp_path):
    """A folder without classes: with classes it is named to `convert`, so that the run knows them."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in folder.rglob("*.png"):
        path.rename(flat / f"{path.parent.name}-{path.name}")
    files = write_files("vqgan", request, tmp_path)
    assert command("vqgan", *files, "--out", tmp_path / "run", "--size", "32x40") == 0
    assert not __main__.main(["evaluate", "--workdir", str(tmp_path / "run"), "--data_path", str(flat)])
    config = small_prior(tmp_path / "run")
    config.update({"steps": 2, "data": {"path": str(flat)}})
    assert loop.train(config, tmp_path / "prior") == 0
