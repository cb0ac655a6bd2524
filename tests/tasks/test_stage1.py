"""The frozen autoencoder: what it is known by, what it refuses, and the codes that it keeps."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from helpers import assert_refused, command, restate, rewrite

from vqjax import tasks
from vqjax.data import datasets
from vqjax.data.formats import npy
from vqjax.runs.devices import PARALLEL
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop
from vqjax.training.evaluation import evaluate


def data_of(frozen):
    """The opened data set that a stage 1 was trained on."""
    return datasets.open_dataset(frozen.settings.data)


def test_encode_and_decode_are_the_autoencoders(stage1):
    frozen, task = Stage1(stage1), tasks.load_task(Workdir(stage1))
    variables = Workdir(stage1).restore_variables(task.abstract_variables)[1]
    jax.tree.map(np.testing.assert_array_equal, frozen.variables, variables)
    images = datasets.read_split(data_of(frozen), "test").arrays["image"][:8]
    output = task.apply_eval(variables, {"image": images})
    found = frozen.encode(variables, images)
    np.testing.assert_array_equal(found, output.quantized[0].codes)
    level = frozen.layout.single
    assert found.shape == (8, *level.grid) and level.num_codes == task.module.quantizer.num_codes
    expected = task.images(variables, {"image": images})["reconstructions"].below
    np.testing.assert_allclose(frozen.decode(variables, found), expected, atol=1e-6)


def test_the_fingerprint_is_of_weights_codebook_and_model(stage1, tmp_path, monkeypatch):
    fingerprint = Stage1(stage1).fingerprint
    assert len(fingerprint) == 64
    moved = shutil.copytree(stage1, tmp_path / "moved")
    assert Stage1(moved).fingerprint == fingerprint
    rewrite(moved / "config.json", log_every=17)
    assert Stage1(moved).fingerprint == fingerprint
    config = json.loads((moved / "config.json").read_text())
    config["model"]["ema"]["beta"] = 0.5
    rewrite(moved / "config.json", model=config["model"])
    assert Stage1(moved).fingerprint != fingerprint
    for collection in ("params", "codebook"):
        changed = Stage1(stage1)
        leaves, tree = jax.tree.flatten(changed.variables)
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(changed.variables)[0]]
        at = next(i for i, path in enumerate(paths) if path[0].key == collection)
        leaves[at] = leaves[at] + np.float32(1e-6)
        monkeypatch.setitem(changed.__dict__, "variables", jax.tree.unflatten(tree, leaves))
        assert changed.fingerprint != fingerprint


@pytest.mark.parametrize("parallel", PARALLEL)
def test_codes_are_computed_once(stage1, monkeypatch, parallel):
    """On all devices, over a number of images that their batches do not divide; then without the images."""
    frozen = Stage1(stage1)
    frozen.settings = dataclasses.replace(frozen.settings, parallel=parallel)
    first = frozen.read(data_of(frozen), "test")
    images = datasets.read_split(data_of(frozen), "test")
    np.testing.assert_array_equal(first.arrays["codes"], frozen.encode(frozen.variables, images.arrays["image"]))
    np.testing.assert_array_equal(first.arrays["label"], images.arrays["label"])
    assert first.arrays["codes"].dtype == np.uint8 and len(first) == 360

    monkeypatch.setattr(datasets, "read_split", None)
    again = Stage1(stage1).read(data_of(frozen), "test")
    for name in ("codes", "label"):
        np.testing.assert_array_equal(first.arrays[name], again.arrays[name])
        assert isinstance(again.arrays[name], np.memmap)  # codes of a set that is larger than memory stay on disk


def test_codes_of_another_stage1_are_not_used(stage1):
    frozen = Stage1(stage1)
    frozen.read(data_of(frozen), "test")
    meta = stage1 / "codes" / "meta.json"
    rewrite(meta, fingerprint="0" * 64)
    assert npy.read_codes(stage1 / "codes", frozen.fingerprint, "test") is None
    frozen.read(data_of(frozen), "test")
    assert json.loads(meta.read_text())["fingerprint"] == frozen.fingerprint


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("file", ["test_codes.npy", "test_labels.npy"])
def test_a_damaged_code_file_is_refused(stage1, prior_config, tmp_path, file, damage):
    frozen = Stage1(stage1)
    frozen.read(data_of(frozen), "test")
    path = stage1 / "codes" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    {
        "flip": lambda: path.write_bytes(content),
        "truncate": lambda: path.write_bytes(content[:-5]),
        "delete": path.unlink,
    }[damage]()
    with pytest.raises(InputError, match=f"{file} does not fit the checksum in meta.json\nDelete .*/codes, and"):
        loop.train(prior_config, tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"format": 1, "fingerprint": "f"}'])
def test_a_damaged_description_of_codes_is_refused(stage1, content):
    (stage1 / "codes").mkdir(exist_ok=True)
    (stage1 / "codes" / "meta.json").write_text(content)
    with pytest.raises(InputError, match="meta.json cannot be read"):
        Stage1(stage1).read(data_of(Stage1(stage1)), "test")


def as_it_was(workdir):
    """A config file for the run that is there."""
    path = workdir.with_suffix(".py")
    path.write_text(
        "import json, ml_collections\n"
        f"get_config = lambda: ml_collections.ConfigDict(json.load(open({str(workdir / 'config.json')!r})))\n"
    )
    return path


DAMAGE = {
    "truncate": ("d/*", lambda path: path.write_bytes(path.read_bytes()[:10])),
    "delete": ("manifest.ocdbt", lambda path: path.unlink()),
}
READ_OFTEN = """
import sys
from vqjax import tasks
from vqjax.runs.workdir import Workdir

workdir = Workdir(sys.argv[1])
expected = tasks.load_task(workdir).abstract_variables
for _ in range(50):
    print("step", workdir.restore_variables(expected)[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(stage1, tmp_path, damage):
    """By one line: what fails in the threads that Orbax leaves behind could be reported at any time."""
    pattern, spoil = DAMAGE[damage]
    for path in stage1.glob(f"checkpoints/6/model/**/{pattern}"):
        spoil(path)
    refused = f"{stage1}/checkpoints/6 cannot be read"
    assert_refused(command("-m", "vqjax", "export", "codes", "--workdir", stage1, "--out", tmp_path / "out"), refused)
    assert not (tmp_path / "out").exists()
    often = command("-c", READ_OFTEN, stage1)
    assert often.stdout.count(refused) == 50 and often.stdout.count("step 4\n") == 50 and often.stderr == ""
    trained = command("train.py", "--config", as_it_was(stage1), "--workdir", stage1, "--config.steps=7")
    assert trained.returncode == 0 and "going on from step 4" in trained.stdout  # training has the one before


@pytest.mark.parametrize("read", [lambda path: evaluate(Workdir(path)), lambda path: Stage1(path).variables])
def test_a_checkpoint_of_another_model_is_refused(stage1, read):
    config = json.loads((stage1 / "config.json").read_text())
    config["model"]["deepmind"]["width"] = 6
    rewrite(stage1 / "config.json", model=config["model"])
    with pytest.raises(InputError, match=r"checkpoints/6: .*'kernel'.* is float32\(.*8.*\), expected float32\(.*6.*\)"):
        read(stage1)


def test_a_description_with_something_missing_is_refused(stage1):
    facts = json.loads((stage1 / "run.json").read_text())
    del facts["variance"]
    (stage1 / "run.json").write_text(json.dumps(facts))
    restate(stage1)
    with pytest.raises(InputError, match="run.json of the run has no 'variance'"):
        evaluate(Workdir(stage1))


def test_a_stage_1_that_cannot_be_built_is_named(stage1):
    config = json.loads((stage1 / "config.json").read_text())
    del config["model"]["deepmind"]["blocks"]
    rewrite(stage1 / "config.json", model=config["model"])
    with pytest.raises(InputError, match="config.stage1=.*/stage1 cannot be built: config.model.deepmind.blocks"):
        Stage1(stage1)


def test_what_is_no_trained_autoencoder_is_refused(stage1, tmp_path, prior_config):
    for path, message in (
        ("", "no such directory"),
        (tmp_path / "nowhere", "no such directory"),
        (tmp_path, "no config.json in it"),
    ):
        with pytest.raises(InputError, match=f"config.stage1=.*expected the workdir of a trained.*{message}"):
            Stage1(path)
    rewrite(stage1 / "config.json", task="prior")
    with pytest.raises(InputError, match="holds a run of task 'prior', expected 'autoencoder'"):
        Stage1(stage1)
    rewrite(stage1 / "config.json", task="autoencoder", steps=7)
    with pytest.raises(InputError, match="has 6 of its 7 steps: finish it first"):
        Stage1(stage1)
    rewrite(stage1 / "config.json", steps=6)
    for step in (stage1 / "checkpoints").iterdir():
        shutil.rmtree(step)
    with pytest.raises(InputError, match="the checkpoint of step 6, which was saved; it is gone"):
        Stage1(stage1)
    shutil.rmtree(stage1 / "checkpoints")
    with pytest.raises(InputError, match="config.stage1=.*found no checkpoint in it"):
        loop.train(prior_config, tmp_path / "prior")
    assert not (tmp_path / "prior").exists()
