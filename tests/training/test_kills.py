"""Runs that are killed again and again: `python -m pytest -m slow -s tests/training/test_kills.py`."""

import contextlib
import itertools
import subprocess

import numpy as np
import pytest
from helpers import TINY, assert_same, command, saved, start, train

OFTEN = ["--config.steps=3000", "--config.log_every=20", "--config.eval_every=1000", "--config.save_every=10"]
RUNS = {
    "autoencoder": ["digits", *TINY, *OFTEN],
    "prior": ["digits_prior", "--config.batch_size=16", "--config.model.pixelcnn.width=8", *OFTEN],
    "classifier": ["code_classifier:digits", "--config.batch_size=16", "--config.model.conv.width=4", *OFTEN],
}


def ended(process, seconds):
    """Whether a process ends within so many seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None


def progressed(workdir):
    path = workdir / "metrics.jsonl"
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_twenty_kills_leave_no_trace(tmp_path, name):
    """Half of them during a save, the others some time after the steps go on; the end is that of a run without."""
    arguments, rng = RUNS[name], np.random.default_rng(0)
    if name != "autoencoder":
        assert train(tmp_path / "stage1", *TINY, "--config.steps=20").returncode == 0
        arguments = [*arguments, f"--config.stage1={tmp_path / 'stage1'}"]
    assert command("-m", "vqjax", "train", "--workdir", tmp_path / "whole", "--config", *arguments).returncode == 0
    cut, saving = tmp_path / "cut", 0
    for kill in range(20):
        process, before = start("-m", "vqjax", "train", "--workdir", cut, "--config", *arguments), progressed(cut)
        for _ in itertools.repeat(None):
            if kill % 2 and [*cut.glob("checkpoints/*.orbax-checkpoint-tmp")]:
                saving += 1
                break
            if not kill % 2 and progressed(cut) != before:
                ended(process, rng.uniform(0, 0.05))
                break
            assert not ended(process, 0.0005), f"finished before kill {kill}"
        process.kill()
        process.communicate()
    assert saving >= 8
    assert command("-m", "vqjax", "train", "--workdir", cut, "--config", *arguments).returncode == 0
    assert_same(saved(cut), saved(tmp_path / "whole"))
    for file in ("metrics.jsonl", "eval.json"):
        assert (cut / file).read_text() == (tmp_path / "whole" / file).read_text()
