"""Settings that must be made before JAX starts, and the fixtures that several files use."""

import collections
import os
from pathlib import Path

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",  # compiles quickest; few steps are taken
    ]
)
os.environ["JAX_PLATFORMS"] = "cpu"
# The cache holds machine code, and stays with the checkout on its machine. Subprocesses inherit it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "jax"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import shutil
import tempfile

import jax
import numpy as np
import pytest

from configs import autoencoder, classifier, code_classifier, prior
from vqjax.config.check import Section, build
from vqjax.config.schema import Data
from vqjax.data import datasets
from vqjax.data.sets.base import OPTIONS, Dataset
from vqjax.data.splits import Split
from vqjax.networks.priors import PRIORS
from vqjax.quantizers import QUANTIZERS
from vqjax.training import loop

pytest.register_assert_rewrite("helpers")

_decoded = tempfile.TemporaryDirectory()  # of decoded sets, in place of the user's own
os.environ["VQJAX_CACHE"] = _decoded.name

SMALL_PRIORS = {
    "pixelcnn": {"width": 8, "layers": 2, "head_width": 16},
    "transformer": {"width": 16, "layers": 2, "heads": 2},
}
REPOSITORY = Path(__file__).parent.parent


def num_codes(quantizer: str) -> int:
    """K of a quantizer as the base config has it."""
    config = autoencoder.get_config()
    config.model.quantizer = quantizer
    return build(QUANTIZERS, Section.of(config, "config.model"), "quantizer", code_dim=config.model.code_dim).num_codes


CODED = [name for name in QUANTIZERS if num_codes(name)]


def slow_but(quick, names):
    """Parameters, of which all but a quick one are behind the mark `slow`."""
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def more_but(quick, names):
    """Parameters, of which all but a quick one are behind the mark `more`."""
    return [name if name == quick else pytest.param(name, marks=pytest.mark.more) for name in names]


# Shapes and numbers of classes of the sets that are not here.
KNOWN = {
    "mnist": ((28, 28, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "svhn_cropped": ((32, 32, 3), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
}


def fake(shape=None, class_names=None, count=96):
    """A data set of smooth random images in place of one that is not here: 96 for train, 40 for test."""

    class Fake(Dataset):
        uses = OPTIONS

        def __init__(self, data: Data):
            super().__init__(data)
            known = KNOWN.get(data.name, ((16, 16, 3), 3))
            self.shape = shape or known[0]
            names = tuple(f"class {i}" for i in range(known[1]))
            self.class_names = names if class_names is None else class_names
            self.sizes = {"train": count, "test": 40}

        def decode(self, name: str) -> Split:
            count = self.sizes[name]
            rng = np.random.default_rng(count)
            height, width, channels = self.shape
            coarse = rng.integers(0, 256, (count, -(-height // 4), -(-width // 4), channels))
            images = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width].astype(np.uint8)
            labels = rng.integers(0, max(1, len(self.class_names)), count)
            return Split(image=images, label=labels.astype(np.int32))

    return Fake


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Most parameters that are thinned are slow. The longest files first, so that both processes end together."""
    seen = collections.Counter()
    for item in items:
        for mark in item.iter_markers("thinned"):
            if seen[item.function] % mark.args[0]:
                item.add_marker("slow")
            seen[item.function] += 1
    longest = ("test_run.py", "test_steps.py", "test_resume.py", "test_guard.py")
    items.sort(key=lambda item: item.path.name not in longest)


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """Dropped after each file: those of the whole suite need more memory maps than a process may have."""
    yield
    jax.clear_caches()


@pytest.fixture
def mock_data(monkeypatch):
    """Every set but digits, and clips of a film that is there, has random images."""
    _replace_data(monkeypatch, fake())


@pytest.fixture
def large_mock_data(monkeypatch):
    """Sets like mock_data, but as large as the real ones; not to be read."""
    _replace_data(monkeypatch, fake(count=50_000))


def _replace_data(monkeypatch, instead):
    for name in datasets.DATASETS:
        if name not in ("digits", "clips"):
            monkeypatch.setitem(datasets.DATASETS, name, instead)


def give_16_codes(model):
    """To every quantizer that has codes."""
    for entry in (model[name] for name in QUANTIZERS if name in model):
        entry.update({name: value for name, value in (("num_codes", 16), ("levels", (4, 4))) if name in entry})


def small_autoencoder():
    """A tiny stage 1 on digits."""
    config = autoencoder.get_config()
    config.update({"steps": 6, "batch_size": 16, "log_every": 2, "eval_every": 4, "save_every": 4})
    config.data.name = "digits"
    config.model.code_dim = 8
    config.model.deepmind.update({"width": 8, "residual_width": 4, "blocks": 1, "stages": 1})
    config.model.openai.update({"width": 4, "groups": 2, "blocks": 1})
    config.model.vqgan.update(width=32, multipliers=(1, 1), attention=(), blocks=1, latent_width=8)
    give_16_codes(config.model)
    return config


def several_codebooks(config, codes):
    """Make codes of a tiny autoencoder "residual", two per position, or "hierarchical", on two grids."""
    if codes == "residual":
        config.model.quantizer = "residual"
    else:
        config.model.codec = "hierarchical"
        config.model.hierarchical.top.update(num_codes=8, stages=1)
        config.model.hierarchical.bottom.update(num_codes=12, stages=1)


def small_classifier():
    """A tiny classifier of digits, end to end."""
    config = classifier.get_config("digits")
    config.update({"steps": 6, "batch_size": 16, "log_every": 2, "eval_every": 4, "save_every": 4})
    config.optimizer.update(warmup=2, warmup_share=0.0)
    config.model.resnet18.width = 2
    config.model.small.update({"width": 4, "stages": 1})
    config.model.deepmind.update({"features": 8, "width": 8, "residual_width": 4, "blocks": 1, "stages": 1})
    give_16_codes(config.model)
    return config


@pytest.fixture
def classifier_config():
    """A tiny classifier of digits; a test changes what it is about."""
    return small_classifier()


@pytest.fixture
def code_classifier_config(stage1):
    """A tiny classifier on the codes of a tiny stage 1; a test changes what it is about."""
    config = code_classifier.get_config("digits")
    config.update({"stage1": str(stage1), "steps": 6, "batch_size": 16})
    config.update({"log_every": 2, "eval_every": 4, "save_every": 4})
    config.optimizer.update(warmup=2, warmup_share=0.0)
    config.model.conv.update({"width": 4, "layers": 2})
    return config


@pytest.fixture
def small_config():
    """A tiny stage 1 on digits; a test changes what it is about."""
    return small_autoencoder()


@pytest.fixture(scope="session")
def trained_stage1(tmp_path_factory):
    """The workdir of a tiny trained autoencoder, only to be read."""
    workdir = tmp_path_factory.mktemp("stage1") / "autoencoder"
    assert loop.train(small_autoencoder(), workdir) == 0
    return workdir


@pytest.fixture
def stage1(trained_stage1, tmp_path):
    """A copy of it for one test."""
    return shutil.copytree(trained_stage1, tmp_path / "stage1")


def small_prior(stage1):
    """A tiny prior on a stage 1."""
    config = prior.get_config()
    config.update({"stage1": str(stage1), "steps": 6, "batch_size": 16})
    config.update({"log_every": 2, "eval_every": 4, "save_every": 4})
    for name in PRIORS:
        config.model[name].update(SMALL_PRIORS.get(name, {}))
    return config


@pytest.fixture
def prior_config(stage1):
    """A tiny prior on that; a test changes what it is about."""
    return small_prior(stage1)
