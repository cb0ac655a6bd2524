"""Where there is no room. A limit on the size of files stands for a full disk."""

import contextlib
import os
import platform
import resource
import subprocess
import sys

import jax
import numpy as np
import optax
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import slow_but
from helpers import assert_same
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

from vqjax.__main__ import main
from vqjax.data.formats.npy import save_rows
from vqjax.runs.checkpoints import Checkpoints
from vqjax.runs.reports.writer import Writer
from vqjax.runs.state import initial_state
from vqjax.system.files import WriteError, atomic_directory, atomic_write, write_json
from vqjax.system.process import exit_status
from vqjax.training import loop

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
# Of the writes that fail together Orbax raises one error; the others find its event loop gone, see checkpoints.py.
ORBAX = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
WINDOW = {"count": np.float64(0), "sums": {}}


@contextlib.contextmanager
def room(size):
    """While entered, no file of this process gets larger than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def no_cache():
    """JAX's cache of programs would find no room either, and warn of it."""
    before = jax.config.jax_compilation_cache_dir
    for directory in (None, before):
        jax.config.update("jax_compilation_cache_dir", directory)
        compilation_cache.reset_cache()
        if directory is None:
            yield


def assert_told(capsys, *parts):
    """On stderr at most five lines, without a traceback, with all of these in them."""
    error = capsys.readouterr().err
    assert "Traceback" not in error and 0 < len(error.splitlines()) <= 5, error
    for part in ("error: ", *parts):
        assert part in error


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def parquet(path):
    with pq.ParquetWriter(path, pa.schema([("codes", pa.uint8())]), compression="none", use_dictionary=False) as file:
        file.write_table(pa.table({"codes": NOISE.reshape(-1)}))


FILES = {
    "json": lambda path: path.write_text("x" * 4_000),
    "npy": lambda path: np.save(path, NOISE),
    "npz": lambda path: np.savez(path, NOISE),
    "png": lambda path: Image.fromarray(NOISE).save(path),
    "parquet": parquet,
    "rows.npy": lambda path: save_rows(path, np.dtype(np.uint8), (64, 64), [NOISE]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_appears_whole_or_not_at_all(name, tmp_path, capsys):
    path = tmp_path / f"a.{name}"
    path.write_text("as it was")

    def main():
        with atomic_write(path) as temporary:
            FILES[name](temporary)

    with room(1_000):
        assert exit_status(main) == 2
    assert_told(capsys, f"{path} cannot be written to: ", " free")
    assert contents(tmp_path) == {path: b"as it was"}
    assert exit_status(main) == 0 and len(contents(tmp_path)[path]) > 1_000


def test_a_directory_where_a_file_should_be(tmp_path, capsys):
    for name in ("a.json", "metrics.jsonl", "tensorboard"):
        (tmp_path / name).mkdir()
    assert exit_status(lambda: write_json(tmp_path / "a.json", {})) == 2
    assert_told(capsys, f"{tmp_path / 'a.json'} cannot be written to: Is a directory")
    assert exit_status(lambda: Writer(tmp_path, 0)) == 2
    assert_told(capsys, f"{tmp_path / 'metrics.jsonl'}: Is a directory")
    for name in ("metrics.jsonl", "tensorboard"):
        (tmp_path / name).rmdir()
    (tmp_path / "tensorboard").touch()
    assert exit_status(lambda: Writer(tmp_path, 0)) == 2
    assert_told(capsys, f"{tmp_path / 'tensorboard'} cannot be written to: File exists")


def test_an_error_that_is_no_places_keeps_its_traceback():
    def main():
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        exit_status(main)


@pytest.mark.parametrize("write", ["figures", "tensorboard"])
def test_figures_on_a_full_disk_are_an_error_and_no_wait(write, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with Writer(tmp_path, 0) as writer, room(2_000), pytest.raises(WriteError, match="cannot be written to"):
        for step in range(100):
            if write == "figures":
                writer.metrics(step, "test", {})
            else:
                writer.pictures(step, "test", [], NOISE[0] / NOISE[0].sum())


def test_what_a_killed_command_has_left_is_removed_by_the_next(tmp_path, monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def named(name, number=gone.pid):
        with atomic_write(tmp_path / name) as temporary:
            temporary.touch()
        (tmp_path / name).unlink()
        return temporary.with_name(temporary.name.replace(f"tmp{os.getpid()}", f"tmp{number}"))

    named("a[1].npz").touch()
    named("run").mkdir()
    others = [named("a[1].npz", os.getppid()), named("b.npz")]
    with monkeypatch.context() as elsewhere:  # a host that writes to the same disk has processes of its own
        elsewhere.setattr(platform, "node", lambda: "elsewhere")
        others.append(named("a[1].npz"))
    for other in others:
        other.touch()
    with atomic_write(tmp_path / "a[1].npz") as temporary:
        temporary.touch()
    with atomic_directory(tmp_path / "run"):
        pass
    assert {*tmp_path.iterdir()} == {*others, tmp_path / "a[1].npz", tmp_path / "run"}


def state_of(step):
    params = {"kernel": np.random.default_rng(step).normal(size=(100, 100)).astype(np.float32)}
    return jax.device_get(initial_state({"params": params}, optax.sgd(1e-3))._replace(step=np.int32(step)))


@ORBAX
def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(tmp_path, capsys):
    target = jax.eval_shape(lambda: state_of(0))

    def main():
        with Checkpoints(tmp_path / "checkpoints", create=True) as checkpoints:
            checkpoints.save(state_of(2), WINDOW)
            checkpoints.wait_until_finished()
            with room(10_000):
                checkpoints.save(state_of(3), WINDOW)
                checkpoints.wait_until_finished()

    assert exit_status(main) == 2
    assert_told(capsys, f"{tmp_path / 'checkpoints'} cannot be written to: File too large", "40,0", " needed, ", "free")
    with Checkpoints(tmp_path / "checkpoints", create=True) as checkpoints:
        assert_same(checkpoints.restore(target)[0], state_of(2))
        checkpoints.save(state_of(3), WINDOW)
        checkpoints.wait_until_finished()
        assert_same(checkpoints.restore(target)[0], state_of(3))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2", "3"}


@ORBAX
@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(small_config, stage1, capsys, no_cache):
    small_config.update({"steps": 9, "eval_every": 9, "save_every": 1})
    with room((stage1 / "config.json").stat().st_size + 200):
        assert exit_status(lambda: loop.train(small_config, stage1)) == 2
    assert_told(capsys, f"{stage1 / 'checkpoints'} cannot be written to: File too large", "free")
    assert loop.train(small_config, stage1) == 0
    assert "going on from step 6" in capsys.readouterr().out


COMMANDS = {
    "evaluate": ["evaluate", "--workdir", "RUN"],
    "evaluate one": ["evaluate", "--workdir", "RUN", "--step", "4"],
    "explore": ["explore", "--workdir", "RUN"],
    "export codes": ["export", "codes", "--workdir", "RUN", "--out", "OUT"],
    "export tokenizer": ["export", "tokenizer", "--workdir", "RUN", "--out", "OUT"],
    "decode": ["decode", "--workdir", "RUN", "--codes", "CODES", "--out", "OUT"],
    "reconstruct": ["reconstruct", "--workdir", "RUN", "PICTURE"],
    "compare": ["compare", "RUN", "COPY", "--out", "OUT"],
}


@pytest.mark.parametrize("name", slow_but("evaluate", COMMANDS))
def test_every_command_tells_of_a_full_disk(name, trained_stage1, stage1, tmp_path, capsys, no_cache):
    np.save(tmp_path / "codes.npy", np.zeros((64, 4, 4), np.uint8))
    Image.fromarray(NOISE).save(tmp_path / "picture.png")
    places = {"RUN": stage1, "COPY": trained_stage1, "OUT": tmp_path / "out"}
    places |= {"CODES": tmp_path / "codes.npy", "PICTURE": tmp_path / "picture.png"}
    before = contents(tmp_path)
    with room(150):
        assert exit_status(lambda: main([str(places.get(word, word)) for word in COMMANDS[name]])) == 2
    assert_told(capsys, "cannot be written to: File too large", " free")
    after = contents(tmp_path)
    assert {path: after[path] for path in before} == before  # nothing that was there has changed
    assert not [path for path in after if "tmp" in path.name]
