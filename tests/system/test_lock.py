"""Two runs in one workdir."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from vqjax.system.errors import InputError
from vqjax.system.lock import lock_directory
from vqjax.training import loop

HOLD = """
import pathlib, sys, time
from vqjax.system.lock import lock_directory
with lock_directory(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the workdir tmp_path/run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_a_stale_lock_taken_over(small_config, tmp_path, holder, capsys):
    started = time.monotonic()
    with pytest.raises(InputError) as refused:
        loop.train(small_config, tmp_path / "run")
    assert time.monotonic() - started < 5
    message = str(refused.value)
    assert f"--workdir={tmp_path / 'run'} is in use by process {holder.pid} on {socket.gethostname()}" in message
    assert len(message.splitlines()) <= 5
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]  # nothing was written, the lock is whole
    holder.kill()
    holder.wait()
    capsys.readouterr()
    with lock_directory(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / ".lock").read_text()
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(rf"left behind by process {holder.pid} on .*taken over", line)


def test_a_lock_leaves_nothing(tmp_path):
    workdir = tmp_path / "new" / "run"
    with lock_directory(workdir), pytest.raises(InputError, match=f"process {os.getpid()} "):
        with lock_directory(workdir):
            pass
    assert not (tmp_path / "new").exists()
    with lock_directory(workdir):
        (workdir / "config.json").touch()
    assert [path.name for path in workdir.iterdir()] == ["config.json"]


def test_the_lock_of_another_run_is_left_alone(tmp_path):
    """A workdir that was removed under a run, and made anew by the next one."""
    with lock_directory(tmp_path):
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text("{}")
    assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize("kind", ["link", "broken link", "directory"])
def test_a_lock_that_no_run_has_written_is_refused(tmp_path, kind):
    """A link is not followed: the file that it points to stays as it is."""
    (mine := tmp_path / "mine.txt").write_text("mine")
    (workdir := tmp_path / "run").mkdir()
    if kind == "directory":
        (workdir / ".lock").mkdir()
    else:
        (workdir / ".lock").symlink_to(mine if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a link or a directory, which the lock of a run never is\nRemove it"):
        with lock_directory(workdir):
            pass
    assert mine.read_text() == "mine" and sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "run"]


def test_without_a_way_to_lock_there_is_no_lock(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with lock_directory(tmp_path / "file" / "run"):
        pass
    monkeypatch.setattr("vqjax.system.lock.fcntl", None)  # Windows
    with lock_directory(tmp_path / "run"), lock_directory(tmp_path / "run"):
        assert not (tmp_path / "run").exists()
