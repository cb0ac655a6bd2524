"""What tests of runs share: commands as a user types them, what a run has left, and steps without a workdir."""

import itertools
import json
import os
import signal
import subprocess
import sys
import types

import jax
import numpy as np
import orbax.checkpoint as ocp
from conftest import REPOSITORY

from vqjax.data.batches import batches
from vqjax.ops.platforms import trace_for
from vqjax.runs.accumulator import MetricsAccumulator
from vqjax.runs.devices import PARALLEL
from vqjax.runs.state import initial_state
from vqjax.runs.workdir import Workdir
from vqjax.tasks.resolve import complete
from vqjax.training.setup import plan, setup
from vqjax.training.steps import prepare_step, train_step

ONE = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=1"
ENVIRONMENT = {**os.environ, "XLA_FLAGS": ONE}  # one device: two, on cores that other tests use, take long


def on(devices):
    """The environment of a command on so many virtual devices."""
    flags = f"{ENVIRONMENT['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return {**ENVIRONMENT, "XLA_FLAGS": flags}


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
    with Workdir(workdir).checkpoints() as checkpoints:
        items = {name: ocp.args.StandardRestore() for name in ("model", "optimizer", "window")}
        restored = checkpoints._manager.restore(checkpoints.latest, args=ocp.args.Composite(**items))
        return checkpoints.latest, dict(restored.items())


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b, tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance), a, b)


def task_of(config, workdir=None):
    """The task of a run that is checked."""
    return plan(config, workdir).task


def dataset_of(config):
    """The opened data set of a run."""
    return complete(config).dataset


def session_of(config):
    """A run that is set up, without a workdir."""
    return setup(plan(config))


def run(config, parallel="pmap", devices=8, steps=10, change=lambda step, batch: batch):
    """Trains, on batches that `change` may change; returns the state as every device has it, the state, and the
    metrics of each step.
    """
    session = session_of(config)
    settings, task, splits = session.settings, session.task, session.splits
    keys = jax.random.split(jax.random.key(0), 4)
    training = lambda: batches(splits["train"], settings.batch_size, 0, True)  # noqa: E731
    epoch = itertools.islice(training(), max(1, len(splits["train"]) // settings.batch_size))
    state = initial_state(task.initialize(jax.jit(task.init)(keys[0]), epoch, 0), session.optimizer)
    layout = PARALLEL[parallel](jax.devices()[:devices])
    step_function = train_step(task, session.optimizer, session.schedule, *keys[2:])
    update = layout.compile(step_function, donate=True)
    prepare = layout.compile(prepare_step(task, keys[1]), sharded=True)
    state, frozen, history = layout.replicate(jax.device_get(state)), layout.replicate(task.frozen), []
    for step, batch in enumerate(itertools.islice(training(), steps)):
        batch = layout.shard(change(step, batch))
        if "train" in task.prepares:
            batch = prepare((state.step, frozen), batch)
        state, metrics = update(state, batch)
        history.append(layout.collect(metrics))
    return state, layout.collect(state), history


def stop_after(monkeypatch, steps):
    """SIGTERM comes when the run that is next started has taken so many steps."""
    add, taken = MetricsAccumulator.add, []

    def add_and_count(window, metrics, count=1):
        add(window, metrics, count)
        taken.extend([metrics] * count)
        if len(taken) - count < steps <= len(taken):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(MetricsAccumulator, "add", add_and_count)


def assert_refused(result, *messages):
    """An error in at most five lines, no traceback, and status 2."""
    text = result.stdout + result.stderr
    assert result.returncode == 2 and "Traceback" not in text
    assert len(text.strip().splitlines()) <= 5, text
    for message in messages:
        assert message in text


def as_on(platform, function):
    """The function as it is traced for "cpu" or "cuda", though it runs on the CPU."""
    return trace_for(types.SimpleNamespace(platform=platform), function)


def on_one_device(monkeypatch):
    """In this process, from now on."""
    first = jax.devices()[:1]
    for name in ("devices", "local_devices"):
        monkeypatch.setattr(jax, name, lambda *_: first)
    for name in ("device_count", "local_device_count"):
        monkeypatch.setattr(jax, name, lambda: 1)
