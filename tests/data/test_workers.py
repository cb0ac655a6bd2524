"""Processes that decode: they end with their reader, it survives their death in one line, and scripts need a guard."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from conftest import REPOSITORY, more_but

from vqjax.data import streaming, workers
from vqjax.system.errors import InputError, WorkerError


def batch_of(step):
    """Arrays of several types and of sizes that no alignment divides."""
    rng = np.random.default_rng(step)
    image = rng.integers(0, 256, (3, 5, 7, 1)).astype(np.uint8)
    return {"image": image, "label": rng.integers(0, 9, 3).astype(np.int32), "weight": rng.random(3)}


def killed_at_5(step):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch_of(step)


def refused_at_5(step):
    if step == 5:
        raise InputError("image 5 is gone")
    return batch_of(step)


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def failing_at_5(step):
    if step == 5:
        raise Unpicklable("a reason", "another")
    return batch_of(step)


@pytest.mark.parametrize("number", more_but(1, [0, 1, 3]))
def test_batches_are_those_of_the_steps(number):
    """And stay as they are when later ones come."""
    stream = streaming.prefetch_batches(batch_of, 4, number)
    batches = [*itertools.islice(stream, 11)]
    stream.close()
    for step, batch in enumerate(batches, 4):
        assert batch.keys() == batch_of(step).keys()
        for name, array in batch_of(step).items():
            np.testing.assert_array_equal(batch[name], array)
            assert batch[name].dtype == array.dtype
    assert not [child for child in multiprocessing.active_children() if child.name == "decode"]


@pytest.mark.more
@pytest.mark.parametrize("number", [1, 2])
def test_the_death_of_a_process_is_one_line(number):
    stream = workers.worker_batches(killed_at_5, 0, number)
    with pytest.raises(WorkerError, match="a process that decodes images was ended by SIGKILL") as lost:
        list(stream)
    assert len(str(lost.value).splitlines()) == 1
    assert not [child for child in multiprocessing.active_children() if child.name == "decode"]


@pytest.mark.parametrize("number", [0, 2])
def test_what_is_wrong_with_the_data_arrives(number):
    stream = streaming.prefetch_batches(refused_at_5, 0, number)
    assert len([*itertools.islice(stream, 5)]) == 5
    with pytest.raises(InputError, match="^image 5 is gone$"):
        next(stream)


def test_an_exception_that_cannot_travel_is_told():
    with pytest.raises(RuntimeError, match="failing_at_5(.*\n)*.*Unpicklable: a reason"):
        list(workers.worker_batches(failing_at_5, 0, 1))


def test_signals_to_the_whole_group_do_not_end_them():
    stream = workers.worker_batches(batch_of, 0, 1)
    next(stream), next(stream)  # it has come so far
    (child,) = [child for child in multiprocessing.active_children() if child.name == "decode"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child.pid, number)
    assert len([*itertools.islice(stream, 6)]) == 6
    stream.close()


def test_what_cannot_travel_is_refused():
    with pytest.raises(InputError, match="config.data.workers=2: the data set cannot be sent to other processes"):
        next(workers.worker_batches(lambda step: batch_of(step), 0, 2))


# Scripts

SCRIPT = """
import os, signal, sys
import numpy as np
from vqjax.data.streaming import prefetch_batches
from vqjax.system.process import exit_status

def make(step):
    return {"step": np.full(3, step)}

def read(arguments=()):
    stream = prefetch_batches(make, 0, 2)
    print(*[int(next(stream)["step"][0]) for _ in range(6)], flush=True)
    if "kill" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    if "forget" not in sys.argv:
        stream.close()
    else:
        globals()["kept"] = stream
"""
ENDS = {
    "guarded": "if __name__ == '__main__':\n    sys.exit(exit_status(read))",
    "guarded with another condition": "if len(sys.argv) < 9 and '__main__' == __name__:\n    read()",
    "bare": "read()",
    "bare main": "def main():\n    sys.exit(exit_status(read))\nmain()",
    "under another condition": "if sys.argv:\n    read()",
}


def run_script(tmp_path, end, *arguments, timeout=120):
    """Runs until it, and every process that has its output, has ended."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT) + end + "\n")
    settings = {"env": {**os.environ, "PYTHONPATH": str(REPOSITORY)}, "text": True, "timeout": timeout}
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, **settings)


@pytest.mark.parametrize("end", ENDS)
def test_a_script_needs_its_guard(tmp_path, end):
    """Without, one line names it, and no process is started."""
    result = run_script(tmp_path, ENDS[end])
    if end.startswith("guarded"):
        assert (result.returncode, result.stdout, result.stderr) == (0, "0 1 2 3 4 5\n", "")
    else:
        last = result.stderr.splitlines()[-1]
        assert result.returncode != 0 and result.stdout == ""
        assert 'script.py has to call this inside `if __name__ == "__main__":`' in last and "workers=2" in last
        assert len(result.stderr.splitlines()) == 1 or "main" not in end


@pytest.mark.parametrize("how", ["kill", "forget"])
def test_the_processes_end_with_their_reader(tmp_path, how):
    """However that ends: they would keep its output open."""
    result = run_script(tmp_path, ENDS["guarded"], how)
    assert result.returncode == (-signal.SIGKILL if how == "kill" else 0)
    assert (result.stdout, result.stderr) == ("0 1 2 3 4 5\n", "")


def test_a_command_ends_with_status_1(tmp_path):
    end = "if __name__ == '__main__':\n    make = __import__('functools').partial(die)\n    sys.exit(exit_status(read))"
    dying = "def die(step):\n    return {'step': np.full(3, step)} if step < 3 else os.kill(os.getpid(), 9)\n"
    result = run_script(tmp_path, dying + end)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: a process that decodes images was ended by SIGKILL")
    assert len(result.stderr.splitlines()) == 1
