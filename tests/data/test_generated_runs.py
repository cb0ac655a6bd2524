"""Images of any names, formats, modes, sizes and labels, through inspect and two steps of training."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import small_autoencoder, small_classifier
from helpers import on_one_device
from hypothesis import Phase, given, settings
from PIL import Image
from strategies import SETTINGS, trees
from test_properties import assert_plain, write

from vqjax.config.schema import Settings
from vqjax.system.errors import InputError
from vqjax.system.terminal import wrap
from vqjax.training import inspection, loop

DATA = {"name": "folder", "size": "8", "test": 0.4, "cache": False}
QUICKLY = (Phase.explicit, Phase.generate)  # to find a smaller example that fails would take minutes
TWO_STEPS = {"steps": 2, "batch_size": 2, "log_every": 1, "eval_every": 2, "save_every": 2}


@pytest.fixture(scope="module", autouse=True)
def at_once():
    """On one device, without a second that measures the speed of reading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspection, "_SECONDS", 0.0)
        on_one_device(patch)
        yield


@contextlib.contextmanager
def written(tree):
    """A directory, and in it the directory of the images."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "photos"
        root.mkdir()
        write(root, {**tree[2], **tree[1]})
        yield Path(directory), str(root)


def inspected(config, picture):
    """Lines of inspect; None where by chance none of a few images is for test."""
    try:
        lines = inspection.inspect_data(Settings.of(config), picture).lines()
    except InputError as error:
        assert "of which none is for" in str(error)
        return None
    with Image.open(picture) as opened:
        assert min(opened.size) > 50
    for line in lines:
        assert_plain(line)
    return lines


def trained(config, workdir):
    """What a training prints. Its pictures, report and figures are there."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert loop.train(config, workdir) == 0
    figures = json.loads((workdir / "eval.json").read_text())
    assert all(np.isfinite(value) for value in figures.values() if isinstance(value, float))
    assert (workdir / "report.md").read_text("utf-8") and (workdir / "curves.png").is_file()
    text = said.getvalue()
    assert "warning" not in text and "\x1b" not in text
    return text


@settings(SETTINGS, max_examples=8, phases=QUICKLY)
@given(tree=trees())
def test_inspect_says_what_lies_there(tree):
    config = small_autoencoder()
    with written(tree) as (directory, root):
        config.data.update({**DATA, "path": root})
        if (lines := inspected(config, directory / "samples.png")) is None:
            return
        counts = [int(part.split()[0]) for part in lines[0].removeprefix("folder: ").split(", ")]
        assert sum(counts) == len(tree[1])
        assert ("no labels" in lines) == (tree[0] == 0)


@pytest.mark.slow
@settings(SETTINGS, max_examples=8, phases=QUICKLY)
@given(tree=trees())
def test_what_inspect_says_of_images_training_says_too(tree):
    """An autoencoder of any of them, and a classifier of those with classes."""
    with written(tree) as (directory, root):
        for name, config in (("autoencoder", small_autoencoder()), ("classifier", small_classifier())):
            config.update(TWO_STEPS)
            config.optimizer.warmup = 0
            config.data.update({**DATA, "path": root, "validation": 0.0})
            if (lines := inspected(config, directory / "samples.png")) is None:
                return
            if name == "classifier" and (not tree[0] or any(line.startswith("odd: config.") for line in lines)):
                return
            odd = [line.removeprefix("odd: ") for line in lines if line.startswith("odd: ")]
            try:
                text = trained(config, directory / name)
            except InputError as error:
                assert any(line in str(error) for line in odd), error
                return
            for line in lines[3:]:  # after counts, size and classes: notes
                is_note = not line.startswith(("odd: ", "variance of", "no labels")) and "images/s" not in line
                assert not is_note or wrap(line) in text, line
