"""`vqjax.load` and what it gives, against what the tasks compute and what the runs have measured."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import CODED, small_autoencoder, small_classifier
from helpers import dataset_of, task_of
from PIL import Image

import vqjax
from configs import code_classifier, prior
from vqjax.data import datasets
from vqjax.inference import generation, inputs
from vqjax.inference.api import MODELS
from vqjax.runs.devices import PARALLEL, Mapper, Pmap
from vqjax.runs.workdir import Workdir
from vqjax.tasks import TASKS
from vqjax.tasks.stage1 import Stage1
from vqjax.training import loop

SHORT = {"steps": 4, "batch_size": 16, "log_every": 2, "eval_every": 4, "save_every": 4}


@pytest.fixture(scope="module")
def runs(trained_stage1, tmp_path_factory):
    """A directory with a tiny run of every kind, only to be read."""
    runs = tmp_path_factory.mktemp("runs")
    shutil.copytree(trained_stage1, runs / "tokenizer")
    configs = {
        "none": small_autoencoder(),
        "classifier": small_classifier(),
        "prior": prior.get_config(),
        "codes": code_classifier.get_config("digits"),
    }
    configs["none"].model.quantizer = "none"
    configs["prior"].model.pixelcnn.update({"width": 8, "layers": 2, "head_width": 16})
    configs["codes"].model.conv.update({"width": 4, "layers": 2})
    for name, config in configs.items():
        config.update(SHORT)
        if "stage1" in config:
            config.stage1 = str(runs / "tokenizer")
        if "warmup" in config.optimizer:
            config.optimizer.warmup = 2
        assert loop.train(config, runs / name) == 0
    return runs


@pytest.fixture(scope="module")
def tokenizer(runs):
    return vqjax.load(runs / "tokenizer")


@pytest.fixture(scope="module")
def drawn(runs):
    return vqjax.load(str(runs / "prior"))


@pytest.fixture(scope="module")
def digits(tokenizer):
    """The images (360, 8, 8, 1) and labels that eval.json is about."""
    return datasets.read_split(dataset_of(tokenizer.config), "test").arrays


def test_every_task_has_a_model():
    assert set(MODELS) == set(TASKS) and {*vqjax.__all__} <= {*dir(vqjax)}
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        _ = vqjax.laod


def test_codes_and_images_are_stage_1s(runs, tokenizer, digits):
    stage1, images = Stage1(runs / "tokenizer"), digits["image"]
    codes = tokenizer.encode(images)
    assert isinstance(codes, np.ndarray) and codes.dtype == np.int32 and codes.shape == (360, 4, 4)
    np.testing.assert_array_equal(codes, stage1.encode(stage1.variables, images))
    decoded = tokenizer.decode(codes.astype(np.uint8))
    assert isinstance(decoded, np.ndarray) and decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, stage1.decode(stage1.variables, codes), atol=1e-6)
    np.testing.assert_allclose(tokenizer.reconstruct(images), decoded, atol=1e-6)
    mse = np.mean((decoded - images / 255) ** 2)
    np.testing.assert_allclose(mse, tokenizer.metrics["mse"], rtol=1e-4)


AS = {
    "uint8": lambda images: images,
    "float64": lambda images: images / 255.0,
    "float32": lambda images: images.astype(np.float32) / 255,
    "float16": lambda images: (images / 255).astype(np.float16),
    "bfloat16": lambda images: jnp.asarray(images / 255, jnp.bfloat16),
    "jax": lambda images: jnp.asarray(images),
    "list": lambda images: list(images),
    "grey": lambda images: images[..., 0],
    "grey floats": lambda images: images[..., 0] / 255.0,
    "pillow": lambda images: [Image.fromarray(image[..., 0]) for image in images],
    "pillow rgb": lambda images: [Image.fromarray(image[..., 0]).convert("RGB") for image in images],
}


@pytest.mark.parametrize("how", AS)
def test_an_image_gives_the_same_codes_however_it_comes(tokenizer, digits, how):
    """Every level is among the pixels; what half precision can tell apart is the same."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    images[0].flat, images[1].flat, images[2].flat, images[3].flat = np.arange(256).reshape(4, 64)
    np.testing.assert_array_equal(tokenizer.encode(AS[how](images)), tokenizer.encode(images))


def test_every_level_comes_back_from_floats_and_what_lies_between_stays():
    whole = np.arange(256, dtype=np.uint8)
    for dtype in (np.float16, np.float32, jnp.bfloat16):
        np.testing.assert_array_equal(inputs.to_pixel_levels(jnp.asarray(whole / 255, dtype)), whole)
    between = np.arange(255, dtype=np.float32) + np.float32(0.25)
    np.testing.assert_allclose(inputs.to_pixel_levels(jnp.asarray(between / 255)), between, atol=1e-4)


@pytest.mark.parametrize("parallel", PARALLEL)
def test_any_number_of_images_by_few_programs(runs, digits, parallel, monkeypatch):
    """On eight devices: batches are multiples of eight, powers of two, and at most 256."""
    tokenizer, sizes = vqjax.load(runs / "tokenizer"), []
    tokenizer._map = Mapper(tokenizer._variables, parallel)
    shard = PARALLEL[parallel].shard
    monkeypatch.setattr(
        PARALLEL[parallel], "shard", lambda self, batch: sizes.append(len(batch["real"])) or shard(self, batch)
    )
    expected = tokenizer.encode(digits["image"])
    assert sizes == [256, 256]
    for count in (1, 2, 3, 9, 17):
        np.testing.assert_array_equal(tokenizer.encode(digits["image"][:count]), expected[:count])
    assert sizes[2:] == [8, 8, 8, 16, 32]
    large = np.zeros((3, 1024, 1024, 1), np.uint8)  # as many as fit 2 ** 18 pixels: one, for each device
    sizes.clear()
    assert tokenizer._run(lambda _, batch: batch["image"].max((1, 2, 3)), 2**20, image=large).shape == (3,)
    assert sizes == [8]


def test_other_sizes_than_in_training(tokenizer):
    assert tokenizer.grid() == (4, 4) and tokenizer.grid(12, 16) == (6, 8) and tokenizer.stride == 2
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 1)).astype(np.uint8)
    codes = tokenizer.encode(images)
    assert codes.shape == (3, 6, 8) and tokenizer.decode(codes).shape == images.shape
    np.testing.assert_allclose(tokenizer.reconstruct(images), tokenizer.decode(codes), atol=1e-6)
    # Far from the border a position sees the same whatever lies around: an image in the middle of a larger one.
    wide = np.zeros((1, 64, 64, 1), np.uint8)
    wide[:, 16:48, 16:48] = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 1))
    np.testing.assert_array_equal(
        tokenizer.encode(wide)[:, 14:18, 14:18], tokenizer.encode(wide[:, 16:48, 16:48])[:, 6:10, 6:10]
    )


@pytest.mark.parametrize("quantizer", CODED)
def test_the_codebook_is_what_the_decoder_sees(small_config, tmp_path, quantizer):
    small_config.model.quantizer = quantizer
    task = task_of(small_config)
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    tokenizer = vqjax.Tokenizer(tmp_path, task, variables, 0)
    assert tokenizer.num_codes == 16 and tokenizer.codebook.shape == (16, 8)
    codes = np.random.default_rng(0).integers(0, 16, (2, 4, 4))
    z_q = tokenizer.codebook[codes]
    output = task.module.apply(variables, z_q, method=lambda module, z_q: module.decoder(z_q, False))
    np.testing.assert_allclose(tokenizer.decode(codes), task.likelihood.mean(output), atol=1e-5)
    assert tokenizer.metrics == {}


def test_a_model_without_codes_reconstructs(runs, digits):
    model = vqjax.load(runs / "none")
    images = model.reconstruct(digits["image"])
    np.testing.assert_allclose(np.mean((images - digits["image"] / 255) ** 2), model.metrics["mse"], rtol=1e-4)
    assert model.num_codes == 0
    for use in (lambda: model.encode(digits["image"]), lambda: model.decode([[[0]]]), lambda: model.codebook):
        with pytest.raises(ValueError, match="quantizer='none' has no codes"):
            use()


def test_the_weights_are_of_the_asked_step(runs):
    expected = {step: vqjax.load(runs / "tokenizer", step=step) for step in (4, 6)}
    assert vqjax.load(runs / "tokenizer").step == 6
    workdir = Workdir(runs / "tokenizer")
    for step, tokenizer in expected.items():
        assert tokenizer.step == step and f"step {step}" in repr(tokenizer)
        _, variables = workdir.restore_variables(tokenizer._task.abstract_variables, step)
        jax.tree.map(np.testing.assert_array_equal, tokenizer._variables, variables)
    assert np.any(expected[4].codebook != expected[6].codebook)


def test_samples_are_those_of_the_command(runs, drawn):
    samples = drawn.sample(12, classes=[3, "7", np.int32(0)], seed=5, temperature=0.9, top_k=4, top_p=0.8)
    np.testing.assert_array_equal(samples.classes, [3, 7, 0] * 4)
    assert samples.codes.dtype == np.int32 and samples.images.dtype == np.float32
    _, beside = generation.sample(
        str(runs / "prior"), 12, "3,7,0", 5, 64, False, None, None, None, temperature=0.9, top_k=4, top_p=0.8
    )
    with np.load(beside) as file:
        np.testing.assert_array_equal(file["codes"], samples.codes)
        np.testing.assert_array_equal(file["images"], np.round(255 * samples.images))
    np.testing.assert_allclose(drawn.tokenizer.decode(samples.codes), samples.images, atol=1e-6)
    more = drawn.sample(300, classes=[3, 7, 0], seed=5, temperature=0.9, top_k=4, top_p=0.8)
    np.testing.assert_array_equal(more.codes[:12], samples.codes)
    assert list(drawn.sample(11).classes) == [*range(10), 0]


def test_log_prob_is_what_the_run_has_measured(drawn, digits):
    codes = drawn.tokenizer.encode(digits["image"])
    nats = drawn.log_prob(codes, digits["label"])
    assert nats.shape == (360,) and nats.dtype == np.float32 and drawn.conditional
    np.testing.assert_allclose(-nats.mean() / 16, drawn.metrics["nats_per_code"], rtol=1e-5)
    one = drawn.log_prob(codes[:2], "3")
    np.testing.assert_allclose(one, drawn.log_prob(codes[:2], [3, 3]), rtol=1e-6)
    assert np.abs(one - drawn.log_prob(codes[:2], 4)).max() > 1e-4


@pytest.mark.parametrize("kind", ["classifier", "codes"])
def test_classes_are_predicted_as_in_the_evaluation(runs, digits, kind):
    classifier = vqjax.load(runs / kind)
    probabilities = classifier.predict(digits["image"] / 255)
    assert probabilities.shape == (360, 10) and isinstance(probabilities, np.ndarray)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(np.mean(probabilities.argmax(1) == digits["label"]), classifier.metrics["accuracy"])
    assert classifier.class_names == tuple("0123456789")


CODES, IMAGES = np.zeros((2, 4, 4), int), np.zeros((2, 8, 8, 1), np.uint8)
BAD = [
    ("tokenizer", "decode", (CODES + 16,), ValueError, "codes from 16 to 16: expected 0 to 15"),
    ("tokenizer", "decode", (CODES - 1,), ValueError, "codes from -1 to -1: expected 0 to 15"),
    ("tokenizer", "decode", (CODES / 1.0,), TypeError, "codes of dtype float64: expected integers"),
    ("tokenizer", "decode", (CODES > 0,), TypeError, "codes of dtype bool: expected integers"),
    ("tokenizer", "decode", (CODES[0],), ValueError, r"codes of shape \(4, 4\): expected \(N, h, w\)"),
    ("tokenizer", "decode", (CODES[:0],), ValueError, r"codes of shape \(0, 4, 4\): .*, found none"),
    ("tokenizer", "encode", (IMAGES[:0],), ValueError, "expected .*, found none"),
    ("tokenizer", "encode", ([],), ValueError, "expected .*, found none"),
    ("tokenizer", "encode", (IMAGES + 1.5,), ValueError, "images from 1.5 to 1.5: expected uint8, or floats in"),
    ("tokenizer", "encode", (IMAGES - 0.5,), ValueError, r"images from -0.5 to -0.5: expected uint8, or floats in"),
    ("tokenizer", "encode", (IMAGES * np.nan,), ValueError, "images from nan to nan"),
    ("tokenizer", "encode", (IMAGES.astype(int),), TypeError, "images of dtype int64: expected uint8, or floats in"),
    ("tokenizer", "encode", ("picture.png",), TypeError, "expected an array of numbers, found str"),
    (
        "tokenizer",
        "encode",
        (np.zeros((2, 9, 8)),),
        ValueError,
        "images of 9 x 8 pixels: expected multiples of the str",
    ),
    (
        "tokenizer",
        "encode",
        (np.zeros((2, 8, 8, 3)),),
        ValueError,
        r"\(2, 8, 8, 3\): expected \(N, H, W, 1\) or \(N, H",
    ),
    ("tokenizer", "encode", ([[1.0], [1.0, 2.0]],), ValueError, "images: expected an array"),
    ("tokenizer", "encode", (Image.new("L", (8, 8)),), TypeError, "expected a list of Pillow images, found a single"),
    (
        "tokenizer",
        "encode",
        ([Image.new("L", (8, s)) for s in (8, 10)],),
        ValueError,
        "2 sizes .8 x 8, 8 x 10.: expected",
    ),
    ("tokenizer", "encode", ([Image.new("F", (8, 8))],), ValueError, "expected a picture of 8 or 16 bits per channel"),
    ("tokenizer", "encode", ([Image.new("L", (8, 8)), IMAGES[0]],), TypeError, "found something else in it"),
    ("tokenizer", "grid", (8, 7), ValueError, "images of 8 x 7 pixels: expected multiples of the stride 2"),
    ("prior", "sample", (0,), ValueError, "n=0: expected at least 1"),
    ("prior", "sample", (1.5,), TypeError, "float"),
    ("prior", "sample", (4, [10]), ValueError, "classes: '10' is unknown"),
    ("prior", "sample", (4, [-1]), ValueError, "classes: '-1' is unknown"),
    ("prior", "sample", (4, ["ten"]), ValueError, "classes: 'ten' is unknown.*\nKnown: 0, 1"),
    ("prior", "sample", (4, []), ValueError, "classes: expected one or more"),
    ("prior", "sample", (4, None, -1), ValueError, "seed=-1: expected at least 0"),
    ("prior", "sample", (4, None, 0, 0), ValueError, "temperature=0.0: expected at least"),
    ("prior", "sample", (4, None, 0, 1, 17), ValueError, "top_k=17: expected at most the 16 codes"),
    ("prior", "log_prob", (CODES, [1, 2, 3]), ValueError, "3 classes for 2 images"),
    ("prior", "log_prob", (CODES,), ValueError, "classes: expected one for each image"),
    ("prior", "log_prob", (CODES[:, :2], 1), ValueError, r"\(2, 2, 4\): expected \(N, 4, 4\)"),
    ("prior", "log_prob", (CODES + 16, 1), ValueError, "expected 0 to 15"),
    ("classifier", "predict", (np.zeros((2, 10, 8)),), ValueError, "images of 10 x 8 pixels: expected 8 x 8"),
    ("codes", "predict", (IMAGES[:0],), ValueError, "found none"),
]


@pytest.mark.parametrize("name, method, arguments, kind, message", BAD)
def test_wrong_input_is_told_what_was_expected(runs, name, method, arguments, kind, message, monkeypatch):
    """Before anything is compiled or run."""
    model = vqjax.load(runs / name)
    monkeypatch.setattr(Pmap, "compile", None)
    with pytest.raises(kind, match=message):
        getattr(model, method)(*arguments)


def test_a_workdir_that_is_none_is_told_what_was_expected(runs, tmp_path):
    for path, found in ((tmp_path / "nowhere", "no such directory"), (tmp_path, "no config.json in it")):
        with pytest.raises(FileNotFoundError, match=f"expected the workdir of a trained model, found {found}"):
            vqjax.load(path)
    with pytest.raises(ValueError, match="^step=3: no such checkpoint .*\nKept: 4, 6"):
        vqjax.load(runs / "tokenizer", step=3)
    with pytest.raises(ValueError, match="^stage1=.*tokenizer: .* which has none"):
        vqjax.load(runs / "tokenizer", stage1=runs / "tokenizer")
    with pytest.raises(ValueError, match="^stage1=.* holds a run of task 'prior', expected 'autoencoder'"):
        vqjax.load(runs / "prior", stage1=runs / "prior")


@pytest.mark.slow
def test_a_prior_without_classes(runs, tmp_path):
    config = prior.get_config()
    config.update({**SHORT, "stage1": str(runs / "tokenizer")})
    config.model.pixelcnn.update({"width": 8, "layers": 2, "head_width": 16})
    config.model.class_conditional = False
    loop.train(config, tmp_path / "prior")
    model = vqjax.load(tmp_path / "prior")
    samples = model.sample(2)
    assert samples.classes is None and not model.conditional and model.log_prob(samples.codes).shape == (2,)
    for use in (lambda: model.sample(2, classes=[3]), lambda: model.log_prob(samples.codes, [3, 3])):
        with pytest.raises(ValueError, match="this prior was trained without classes"):
            use()


def test_configs_by_name():
    assert vqjax.config("classifier:mnist").data.name == "mnist"
    with pytest.raises(ValueError, match='there is no file digit. Did you mean "digits"'):
        vqjax.config("digit")
