"""Several processes that train one run together, over gloo, on virtual devices."""

import signal
import socket

import pytest
from conftest import slow_but
from helpers import TINY, assert_close, assert_refused, command, lines_of, on, read_until, saved, start

from vqjax.runs.devices import PARALLEL, processes
from vqjax.system import cluster
from vqjax.system import process as commands
from vqjax.system.errors import InputError

SHORT = [*TINY, "--config.steps=10", "--config.eval_every=10", "--config.save_every=5"]
LONG = [*TINY, "--config.steps=100000", "--config.eval_every=100000", "--config.save_every=100000"]


class Together:
    """Two processes of four devices each, in one workdir."""

    def __init__(self, workdir, *arguments):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            place = ["--coordinator", f"localhost:{free.getsockname()[1]}", "--processes", "2"]
        line = ["train.py", "--config", "digits", "--workdir", workdir, *arguments, *place]
        self.processes = [start(*line, "--process", process, env=on(4)) for process in (0, 1)]
        self.output = ["", ""]

    def wait(self, seconds=300):
        """The exit statuses."""
        try:
            for number, process in enumerate(self.processes):
                self.output[number] += process.communicate(timeout=seconds)[0]
            return [process.returncode for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def until_steps(self):
        """Returns when the steps go on."""
        self.output[0] += read_until(self.processes[0], "step 5:")

    def said(self, process):
        """The output of a process, less what gloo prints."""
        lines = self.output[process].splitlines()
        return "\n".join(line for line in lines if "Gloo" not in line and "rank" not in line)  # which may be mixed


@pytest.mark.more
@pytest.mark.parametrize("parallel", slow_but("pmap", PARALLEL))
def test_two_processes_train_as_one(tmp_path, parallel):
    """2 x 4 devices against 1 x 8."""
    chosen = [*SHORT, f"--config.parallel={parallel}"]
    two = Together(tmp_path / "two", *chosen)
    assert two.wait() == [0, 0], two.said(0) + two.said(1)
    assert "8 x cpu in 2 processes" in two.said(0) and two.said(1) == ""
    one = ["train.py", "--config", "configs/digits.py", "--workdir", tmp_path / "one", *chosen]
    assert command(*one, env=on(8)).returncode == 0
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
    for ours, theirs in zip(*(lines_of(tmp_path / name / "metrics.jsonl") for name in ("two", "one"))):
        assert ours.pop("split") == theirs.pop("split") and ours == pytest.approx(theirs, rel=1e-5)
    assert_close(saved(tmp_path / "two"), saved(tmp_path / "one"), 1e-4)


@pytest.mark.more
def test_two_processes_restart_the_same_codes(tmp_path):
    """With the limit at the mean use of a code some are dead in every step, seen over both processes together."""
    dead = [*SHORT, "--config.model.ema.decay=0", "--config.model.ema.dead_code_threshold=1"]
    two = Together(tmp_path / "two", *dead)
    assert two.wait() == [0, 0], two.said(0) + two.said(1)
    one = ["train.py", "--config", "configs/digits.py", "--workdir", tmp_path / "one", *dead]
    assert command(*one, env=on(8)).returncode == 0
    assert_close(saved(tmp_path / "two"), saved(tmp_path / "one"), 1e-4)


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(tmp_path):
    """From two to one, and from one to two."""
    one = ["train.py", "--config", "configs/digits.py", "--workdir", tmp_path / "one", *SHORT]
    assert command(*one, env=on(8)).returncode == 0
    assert Together(tmp_path / "two", *SHORT).wait() == [0, 0]
    one[4] = tmp_path / "two"
    assert command(*one, "--config.steps=15", env=on(8)).returncode == 0
    two = Together(tmp_path / "one", *SHORT, "--config.steps=15")
    assert two.wait() == [0, 0], two.said(0) + two.said(1)
    assert "going on from step 10" in two.said(0)
    assert_close(saved(tmp_path / "two"), saved(tmp_path / "one"), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_to_one_stops_all_after_the_same_step(tmp_path, signalled):
    two = Together(tmp_path / "two", *LONG)
    two.until_steps()
    two.processes[signalled].send_signal(signal.SIGTERM)
    assert two.wait(60) == [143, 143]
    assert "stopped by SIGTERM" in two.said(0)
    assert saved(tmp_path / "two")[0] >= 5


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_dies_ends_the_others_within_a_minute_with_a_message(tmp_path, killed):
    two = Together(tmp_path / "two", *LONG)
    two.until_steps()
    two.processes[killed].kill()
    statuses = two.wait(60)
    assert statuses[1 - killed] not in (0, None)
    assert "another" in two.said(1 - killed)


@pytest.mark.slow
def test_what_one_refuses_ends_all(tmp_path):
    """The workdir of the first is in use by files of somebody else."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "letter.txt").write_text("Dear")
    two = Together(tmp_path / "two", *SHORT)
    assert two.wait(90)[0] == 2
    assert "expected a run or an empty directory" in two.said(0)


@pytest.mark.parametrize(
    "given", [("", 2, 0, False), ("host:1", 0, 0, False), ("host:1", 2, -1, False), ("host:1", 2, 2, False)]
)
def test_half_a_place_is_refused(given, monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="expected HOST:PORT of the first process"):
        cluster.cluster_spec(*given)


def test_a_place_comes_from_the_environment_too(monkeypatch):
    assert cluster.cluster_spec("", 0, -1, False) is None
    for name, value in (("COORDINATOR_ADDRESS", "host:1"), ("NUM_PROCESSES", "2"), ("PROCESS_ID", "0")):
        monkeypatch.setenv(f"JAX_{name}", value)
    assert cluster.cluster_spec("", 0, -1, False) == ("host:1", 2, 0)
    assert cluster.cluster_spec("other:1", 4, 3, False) == ("other:1", 4, 3)
    monkeypatch.setenv("JAX_PROCESS_ID", "first")
    with pytest.raises(InputError, match="JAX_PROCESS_ID=first"):
        cluster.cluster_spec("", 0, -1, False)


@pytest.mark.parametrize(
    "status, at_once", [(0, False), (3, False), (143, False), (2, True), (commands.OUTPUT_UNREAD, True)]
)
def test_who_ends_alone_does_not_wait_for_the_others(status, at_once, monkeypatch):
    """They may wait for it; with the other statuses all end together."""
    ended = []
    monkeypatch.setattr(processes, "_join", lambda where: None)
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    assert processes.run(cluster.ClusterSpec("host:1", 2, 0), lambda: status) == status
    assert ended == [status] * at_once


@pytest.mark.slow
def test_who_finds_nobody_says_so(tmp_path):
    line = ["train.py", "--config", "configs/digits.py", "--workdir", tmp_path / "run", "--distributed"]
    assert_refused(command(*line), "do not find each other")
