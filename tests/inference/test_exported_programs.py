"""What `export tokenizer` and `export classifier` write, where vqjax is not installed."""

import json
import re

import jax
import numpy as np
import pytest
from conftest import REPOSITORY, small_autoencoder
from helpers import command
from safetensors import safe_open
from safetensors.numpy import load_file
from tiny import SHORT

import vqjax
from vqjax.__main__ import main
from vqjax.config.plain import with_fields
from vqjax.inference.exports import programs
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import WriteError
from vqjax.training import loop

pytest_plugins = "inference_fixtures"

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), np.uint8)
# Argument 1: the directory. Runs each program on the array of its name, where only JAX and NumPy can be imported.
RUN = """
import sys
sys.modules.update(dict.fromkeys(("vqjax", "flax", "configs", "optax", "orbax", "ml_collections", "safetensors")))
import jax, numpy as np
from pathlib import Path

directory = Path(sys.argv[1])
for file in directory.glob("*.stablehlo"):
    program = jax.export.deserialize(file.read_bytes())
    assert program.platforms == ("cpu", "cuda")
    given = np.load(directory / f"{file.stem}_given.npy")
    for n in (len(given), 1):
        np.save(directory / f"{file.stem}_{n}.npy", program.call(given[:n]))
"""


def export(kind, workdir, out, *words):
    """The command."""
    return main(["export", kind, str(workdir), "--out", str(out), *map(str, words)])


def elsewhere(directory, **given):
    """What the programs of a directory make of arrays, and of the first of each alone, without vqjax."""
    for name, array in given.items():
        np.save(directory / f"{name}_given.npy", array)
    result = command("-c", RUN, directory, cwd=directory)
    assert result.returncode == 0, result.stderr
    return [[np.load(directory / f"{name}_{n}.npy") for n in (len(array), 1)] for name, array in given.items()]


def test_a_tokenizer_runs_elsewhere(runs, tmp_path, capsys):
    directory, tokenizer = tmp_path / "new" / "out", vqjax.load(runs / "tokenizer")
    export("tokenizer", runs / "tokenizer", directory)
    names = ["config.json", "decode.stablehlo", "encode.stablehlo", "weights.safetensors"]
    sizes = [f"{directory / name}: {(directory / name).stat().st_size:,} bytes" for name in names]
    assert capsys.readouterr().out.splitlines() == sizes
    assert [path.name for path in tmp_path.glob("new/*")] == ["out"]
    assert sorted(path.name for path in directory.iterdir()) == names
    assert not any(b"vqjax/" in path.read_bytes() for path in directory.iterdir())  # the files of this machine

    every = np.arange(16 * 3).reshape(3, 4, 4).astype(np.int32) % 16
    (codes, code), (images, image) = elsewhere(directory, encode=IMAGES, decode=every)
    assert codes.dtype == np.int32 and images.dtype == np.float32
    np.testing.assert_array_equal(codes, tokenizer.encode(IMAGES))
    np.testing.assert_array_equal(code, codes[:1])
    np.testing.assert_allclose(images, tokenizer.decode(every), atol=1e-5)
    np.testing.assert_allclose(image, images[:1], atol=1e-5)
    assert len(np.unique(codes)) > 1 and np.ptp(images) > 0

    config = json.loads((directory / "config.json").read_text())
    assert config["num_codes"] == 16 and config["image_shape"] == [8, 8, 1] and config["step"] == tokenizer.step
    assert config["programs"]["encode"] == {
        "input": {"dtype": "uint8", "shape": ["n", 8, 8, 1]},
        "output": {"dtype": "int32", "shape": ["n", 4, 4]},
    }


@pytest.mark.more
@pytest.mark.parametrize("name", ["classifier", "codes"])
def test_a_classifier_runs_elsewhere(runs, tmp_path, name):
    export("classifier", runs / name, tmp_path / "out")
    classifier = vqjax.load(runs / name)
    ((found, first),) = elsewhere(tmp_path / "out", classify=IMAGES)
    assert found.dtype == np.float32 and found.shape == (7, 10)
    np.testing.assert_allclose(found, classifier.predict(IMAGES), atol=1e-5)
    np.testing.assert_allclose(first, found[:1], atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-4  # the images matter
    weights = load_file(tmp_path / "out" / "weights.safetensors")
    assert any(name.startswith("stage1/params/encoder/") for name in weights) == (name == "codes")
    assert ("stage1" in json.loads((tmp_path / "out" / "config.json").read_text())) == (name == "codes")


def test_the_weights_are_those_of_the_checkpoint(runs, tmp_path):
    export("tokenizer", runs / "tokenizer", tmp_path / "out", "--step", 4)
    weights = load_file(tmp_path / "out" / "weights.safetensors")
    task = vqjax.load(runs / "tokenizer")._task
    _, variables = Workdir(runs / "tokenizer").restore_variables(task.abstract_variables, 4)
    assert weights["params/encoder/Conv_0/kernel"].shape == (4, 4, 1, 4)
    paths = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    assert weights.keys() == paths.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, paths[name])
    with safe_open(tmp_path / "out" / "weights.safetensors", "numpy") as opened:
        assert json.loads(opened.metadata()["config"]) == json.loads((tmp_path / "out" / "config.json").read_text())
    codebook = weights["codebook/quantizer/mean"] / weights["codebook/quantizer/frequency"][:, None]
    np.testing.assert_allclose(codebook, vqjax.load(runs / "tokenizer", 4).codebook, rtol=1e-6)


@pytest.mark.more
def test_bad_input_is_refused_and_nothing_is_written(runs, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    for kind, workdir, out, step, message in (
        ("tokenizer", runs / "classifier", "out", None, "run of task 'classifier', expected 'autoencoder'"),
        (
            "classifier",
            runs / "tokenizer",
            "out",
            None,
            "run of task 'autoencoder', expected 'classifier' or 'code",
        ),
        ("tokenizer", runs.root, "out", None, "expected the workdir of a trained model, found no config.json in it"),
        ("tokenizer", runs / "none", "out", None, "has no codes, .*config.model.quantizer='none'"),
        ("tokenizer", runs / "tokenizer", "full", None, "--out=.*full is in use: expected an empty directory or none"),
        ("tokenizer", runs / "tokenizer", "file", None, "--out=.*file is in use"),
        ("tokenizer", runs / "tokenizer", "file/out", None, "file/out cannot be written to"),
        ("tokenizer", runs / "tokenizer", "out", 3, "--step=3"),
    ):
        with pytest.raises((InputError, WriteError), match=message):
            export(kind, workdir, tmp_path / out, *([] if step is None else ["--step", step]))
    assert sorted(tmp_path.iterdir()) == before


def test_a_directory_appears_whole_or_not_at_all(runs, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(WriteError, match="cannot be written to: No space left"):
        patched.setattr(programs, "write_json", fail)
        export("tokenizer", runs / "tokenizer", tmp_path / "out")
    assert not any(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")  # empty: it is taken, as it is
    assert len(list(vqjax.Tokenizer.load(runs / "tokenizer").export(".").iterdir())) == 4


@pytest.mark.more
def test_pytorch_finds_the_same_codes(runs, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(REPOSITORY / "examples")
    from torch_encoder import Tokenizer

    config = small_autoencoder()
    config.update(SHORT)
    config.model.quantizer = "vq"
    config.model.deepmind.update({"weight_norm": True, "blocks": 2, "stages": 2, "relu_skip": True})
    assert loop.train(config, tmp_path / "vq") == 0
    for run, shape in ((runs / "tokenizer", (7, 4, 4)), (tmp_path / "vq", (7, 2, 2))):  # the first is of "ema"
        directory = vqjax.Tokenizer.load(run).export(tmp_path / f"{run.name}_out")
        codes = Tokenizer(directory)(torch.from_numpy(IMAGES)).numpy()
        assert codes.shape == shape and len(np.unique(codes)) > 1
        np.testing.assert_array_equal(codes, vqjax.load(run).encode(IMAGES))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codec": "hierarchical"}, "one grid of codes, found the codec hierarchical"),
        ({"dtype": "bfloat16"}, "deepmind in float32"),
        ({"deepmind.batch_norm": True}, "without batch norm"),
        ({"deepmind.swish": True}, "fields that are not known here: swish"),
        ({"likelihood": "logit_laplace", "logit_laplace.input_range": "mapped"}, r"sees pixels in \[-1, 1\]"),
        ({"quantizer": "fsq"}, "among ema, vq, found fsq"),
        ({"vq.cosine": True}, "cosine=False"),
    ],
)
def test_the_reader_in_pytorch_refuses_what_it_cannot_compute(fields, message, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(REPOSITORY / "examples")
    from torch_encoder import check

    model = small_autoencoder().model
    model.quantizer = "vq"
    check(model.to_dict())
    with pytest.raises(ValueError, match=message):
        check(with_fields(model.to_dict(), fields))


def test_the_page_loads_a_program_and_the_weights(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export("tokenizer", runs / "tokenizer", "digits_tokenizer")
    np.save("images.npy", IMAGES)
    page = (REPOSITORY / "docs" / "export.md").read_text()
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        exec(block, names)
    tokenizer = vqjax.load(runs / "tokenizer")
    np.testing.assert_array_equal(names["codes"], tokenizer.encode(IMAGES))
    np.testing.assert_allclose(names["images"], tokenizer.reconstruct(IMAGES), atol=1e-5)
    np.testing.assert_allclose(names["codebook"], tokenizer.codebook, rtol=1e-6)
