"""Helpers for tests of runs: commands as a user types them, what a run has left, and steps without a workdir."""

import contextlib
import functools
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import types

import jax
import numpy as np
import orbax.checkpoint as ocp
from conftest import REPOSITORY

from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.ops.platforms import trace_for
from vqjax.runs.checkpoints.record import read_record, write_record
from vqjax.runs.devices import PARALLEL
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks import complete
from vqjax.training.beginning import fresh_state
from vqjax.training.setup import plan, setup
from vqjax.training.startup import Startup

ONE = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
ENVIRONMENT = {**os.environ, "XLA_FLAGS": ONE}  # one device: two, on cores that other tests use, take long


HOSTILE = (  # names that a directory of images, a row of an ablation or a run may have
    *("cash$$", "$x^2$", r"\frac{", "a<b|c", "`code`", "**bold**", "line\nbreak", "tab\t", "bell\x07", "\x1b[31mred"),
    *("_hidden", "", " ", "%s{0}", "&amp;", "=1+1", '"quoted", with a comma', "café", "Ελληνικά", "Temple – 寺", "🙂"),
    *("עברית", "\u202egnp", "\udc80 of another encoding", "a\u200db"),
)


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


def start(*arguments, cwd=REPOSITORY, env=ENVIRONMENT):
    """Starts a Python command line of this project, whose output, with what goes to stderr, is read from a pipe."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**env, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process, text, seconds=240):
    """Read what a process prints, up to where it has printed a text."""
    said = ""
    while text not in said:
        assert select.select([process.stdout], [], [], seconds)[0], f"{text!r} is not said:\n{said}"
        part = os.read(process.stdout.fileno(), 2**16).decode()  # not read, which waits for more
        assert part, f"ended before {text!r}:\n{said}"
        said += part
    return said


def train(workdir, *arguments, **options):
    return command("train.py", "--config", "configs/digits.py", "--workdir", workdir, *arguments, **options)


def covering(*choices):
    """The fewest combinations of one of each that have every choice in them."""
    return list(itertools.islice(zip(*map(itertools.cycle, choices)), max(map(len, choices))))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path, **fields):
    """Changes fields of a JSON file; the checkpoints of a run go along."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    restate(path.parent)


def restate(workdir):
    """Makes the checkpoints of a run those of its config.json and run.json as they are now."""
    with contextlib.suppress(InputError):  # one of them is meant to be unreadable
        for directory in workdir.glob("checkpoints/*[0-9]"):
            write_record(directory, read_record(directory)._replace(workdir=Workdir(workdir).checksums))


def saved(workdir):
    """All arrays of the latest checkpoint, by name."""
    with Workdir(workdir).checkpoints() as checkpoints:
        step = checkpoints.latest
    items = ("model", "optimizer", "window")
    with ocp.StandardCheckpointer() as checkpointer:
        return step, {name: checkpointer.restore(workdir / "checkpoints" / str(step) / name) for name in items}


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b, tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance, rtol=tolerance), a, b)


def part_of(config, key):
    """The part of a config at a dotted key, all of it at ""."""
    return functools.reduce(lambda part, name: part[name], filter(None, key.split(".")), config)


def task_of(config, workdir=None):
    """The task of a run that is checked."""
    return plan(Settings.of(config), workdir).task


def dataset_of(config):
    """The opened data set of a run."""
    return complete(Settings.of(config)).dataset


def split_of(config, name):
    """A split as the task of a run reads it."""
    completed = complete(Settings.of(config))
    return datasets.load_splits(completed.dataset, (name,), completed.build().read)[name]


def session_of(config, parallel=None, devices=None):
    """A run that is set up, without a workdir; on so many devices."""
    planned = plan(Settings.of(config))
    layout = PARALLEL[parallel or planned.settings.parallel](jax.devices()[:devices])
    return setup(planned._replace(layout=layout))


def run(config, parallel="pmap", devices=8, steps=10, change=lambda step, batch: batch):
    """Trains, on batches that `change` may change; returns the state as every device has it, the state, and the
    metrics of each step.
    """
    session = session_of(config, parallel, devices)
    layout, history = session.layout, []
    update = layout.compile(session.step, donate=True)
    prepare = session.prepare and layout.compile(session.prepare, sharded=True)
    state = layout.replicate(fresh_state(session, Startup()))
    for step, batch in enumerate(itertools.islice(session.batches(), steps)):
        batch = layout.shard(change(step, batch))
        if prepare:
            batch = prepare((state.step, session.frozen), batch)
        state, metrics = update(state, batch)
        history.append(layout.collect(metrics))
    return state, layout.collect(state), history


def stop_after(steps):
    """`on_step` of a run to which SIGTERM comes after that step."""
    return lambda step: step == steps and signal.raise_signal(signal.SIGTERM)


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
