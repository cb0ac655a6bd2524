"""What tests of whole runs share: commands as a user types them, and what a run has left."""

import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
from conftest import REPOSITORY

from vqjax import loop
from vqjax.checkpoint import Checkpoints, Workdir

ENVIRONMENT = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=1"}  # one device
TINY = [
    f"--config.{field}"
    for field in (
        "batch_size=16",
        "log_every=5",
        "model.deepmind.width=8",
        "model.deepmind.blocks=1",
        "model.ema.num_codes=16",
    )
]


def command(*arguments, cwd=REPOSITORY, **options):
    """Runs a Python command line of this project to its end."""
    settings = {"env": ENVIRONMENT, "capture_output": True, "text": True, "timeout": 600, **options}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, **settings)


def train(workdir, *arguments, **options):
    return command("train.py", "--config", "configs/digits.py", "--workdir", workdir, *arguments, **options)


def covering(*choices):
    """As few combinations of one of each as have every choice in them."""
    return list(itertools.islice(zip(*map(itertools.cycle, choices)), max(map(len, choices))))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path, **fields):
    """Changes fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def saved(workdir):
    """All arrays of the latest checkpoint, by name."""
    import orbax.checkpoint as ocp

    with Checkpoints(Workdir(workdir)) as checkpoints:
        items = {name: ocp.args.StandardRestore() for name in ("model", "optimizer", "window")}
        restored = checkpoints._manager.restore(checkpoints.latest, args=ocp.args.Composite(**items))
        return checkpoints.latest, dict(restored.items())


def assert_same(a, b):
    import jax

    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def stop_after(monkeypatch, steps):
    """SIGTERM comes when the run that is next started has taken so many steps."""
    add, taken = loop._Window.add, []

    def add_and_count(window, metrics):
        add(window, metrics)
        taken.append(metrics)
        if len(taken) == steps:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop._Window, "add", add_and_count)


def assert_refused(result, *messages):
    """An error in at most five lines, no traceback, a status that is not 0."""
    text = result.stdout + result.stderr
    assert result.returncode not in (0, None) and "Traceback" not in text
    assert len(text.strip().splitlines()) <= 5, text
    for message in messages:
        assert message in text
