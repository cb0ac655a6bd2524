"""Fixtures of the tests of inference: a tiny trained run of every kind, and runs of other layouts of codes."""

import contextlib
import io
import shutil

import pytest
from conftest import small_autoencoder, small_classifier
from tiny import LAYOUTS, Places, Signs, TwoLevels, short, small_code_classifier, small_prior

from vqjax.networks.priors import PRIORS
from vqjax.quantizers import QUANTIZERS
from vqjax.tasks.codecs import CODECS
from vqjax.training import loop


class Runs:
    """Tiny runs, only to be read: `runs / kind` is the workdir of one, which is trained when it is first asked for."""

    def __init__(self, root):
        self.root = root

    def __truediv__(self, kind):
        if not (self.root / kind).exists():
            with contextlib.redirect_stdout(io.StringIO()):  # of a test that reads what a command prints
                assert loop.train(self._config(kind), self.root / kind) == 0
        return self.root / kind

    def _config(self, kind):
        if kind == "none":
            config = short(small_autoencoder())
            config.model.quantizer = "none"
            return config
        if kind == "classifier":
            return short(small_classifier())
        if kind == "transformer":
            config = small_prior(self / "tokenizer", prior="transformer")
            config.update({"steps": 60, "log_every": 60, "eval_every": 60, "save_every": 60})
            config.optimizer.learning_rate = 0.03  # so that the class and the other codes count
            return config
        return {"prior": small_prior, "codes": small_code_classifier}[kind](self / "tokenizer")


@pytest.fixture(scope="session")
def runs(trained_stage1, tmp_path_factory):
    """A tiny run of each kind: tokenizer, none (without codes), classifier, prior (a PixelCNN), transformer (in any
    order), codes (a classifier of them).
    """
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(trained_stage1, root / "tokenizer")
    return Runs(root)


@pytest.fixture(scope="module")
def tables():
    """The tables with entries whose codes have several levels, or several per position."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CODECS, "two", TwoLevels)
        patch.setitem(QUANTIZERS, "signs", Signs)
        patch.setitem(PRIORS, "places", Places)
        yield


@pytest.fixture(scope="module", params=["levels", pytest.param("depth", marks=pytest.mark.more)])
def layered(request, tables, tmp_path_factory):
    """The kind of a layout, and a directory with a tokenizer and a prior of it."""
    kind, directory = LAYOUTS[request.param], tmp_path_factory.mktemp(request.param)
    config = short(small_autoencoder())
    with config.unlocked():
        config.model.two, config.model.signs = {}, {}
    config.model.update(kind.model)
    assert loop.train(config, directory / "tokenizer") == 0
    config = small_prior(directory / "tokenizer")
    with config.unlocked():
        config.model.places = {}
    config.model.prior = "places"
    assert loop.train(config, directory / "prior") == 0
    return kind, directory
