"""Runs that are killed again and again: `python -m pytest -m slow -s tests/training/test_kills.py`."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import REPOSITORY
from helpers import ENVIRONMENT, TINY, assert_same, command, saved, train

OFTEN = ["--config.steps=3000", "--config.log_every=20", "--config.eval_every=1000", "--config.save_every=10"]
RUNS = {
    "autoencoder": ["digits", *TINY, *OFTEN],
    "prior": ["digits_prior", "--config.batch_size=16", "--config.model.pixelcnn.width=8", *OFTEN],
    "classifier": ["code_classifier:digits", "--config.batch_size=16", "--config.model.conv.width=4", *OFTEN],
}


def start(workdir, arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "vqjax", "train", "--workdir", str(workdir), "--config", *arguments],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


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
        process, before = start(cut, arguments), progressed(cut)
        for _ in itertools.repeat(None):
            if kill % 2 and [*cut.glob("checkpoints/*.orbax-checkpoint-tmp")]:
                saving += 1
                break
            if not kill % 2 and progressed(cut) != before:
                time.sleep(rng.uniform(0, 0.05))
                break
            assert process.poll() is None, f"finished before kill {kill}"
            time.sleep(0.0005)
        process.kill()
        process.wait()
    assert saving >= 8
    assert command("-m", "vqjax", "train", "--workdir", cut, "--config", *arguments).returncode == 0
    assert_same(saved(cut), saved(tmp_path / "whole"))
    for file in ("metrics.jsonl", "eval.json"):
        assert (cut / file).read_text() == (tmp_path / "whole" / file).read_text()
