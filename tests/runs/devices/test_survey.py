"""The command `devices`: what JAX sees in each process, and whether they agree."""

import json
import socket

import pytest
from helpers import on, start

from vqjax.__main__ import main
from vqjax.commands import devices
from vqjax.runs.devices import survey
from vqjax.runs.devices.survey import Survey, find_problems

FACTS = {
    **{"host": "a", "vqjax": "1", "jax": "0.10.2", "python": "3.11.7", "platform": "gpu", "kind": "NVIDIA A100"},
    **{"local_devices": 8, "devices": 16, "memory": 40 * 2**30, "cores": 96, "unused_gpus": 0},
}


def test_one_process(capsys):
    assert main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith(f"process 0 of 1 on {socket.gethostname()}: 8 x cpu; ")
    assert lines[-2].startswith("a sum over all 8 devices took ") and lines[-1] == "no problem found"


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"jax": "0.11"}, "jax differ: 0.10.2 in process 0, 0.11 in process 1"),
        ({"local_devices": 7}, "local devices differ: 8 in process 0, 7 in process 1"),
        ({"kind": "NVIDIA V100"}, "kind differ: NVIDIA A100 in process 0, NVIDIA V100 in process 1"),
        ({"unused_gpus": 4}, "process 1 computes on its CPU, and sees 4 NVIDIA GPUs that JAX cannot use: install"),
    ],
)
def test_what_differs_is_a_problem(change, problem):
    (found,) = find_problems([FACTS, {**FACTS, **change}])
    assert found.startswith(problem)
    assert not find_problems([FACTS, {**FACTS, "host": "b", "memory": 1, "cores": 1}])


def test_processes_are_listed_by_what_they_have():
    found = find_problems([{**FACTS, "jax": str(number % 2)} for number in range(40)])
    assert found == [
        "jax differ: 0 in processes 0, 2, 4, 6, 8, 10, 12, 14, …, 1 in processes 1, 3, 5, 7, 9, 11, 13, 15, …"
    ]


def test_a_problem_is_the_exit_status_and_the_last_line(monkeypatch, capsys):
    monkeypatch.setattr(survey, "survey", lambda: Survey([FACTS] * 2, ["jax differ: …"], 1.0))
    assert main(["devices"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert "process 1 of 2 on a: 8 x NVIDIA A100, 40.0 GiB each; 96 cores, jax 0.10.2, vqjax 1" in lines
    assert lines[-1] == "problem: jax differ: …"
    assert main(["devices", "--json"]) == 3
    values = json.loads(capsys.readouterr().out)
    assert values["agree"] is False and values["processes"][1]["kind"] == "NVIDIA A100"


def test_a_sum_that_is_wrong_is_a_problem(monkeypatch):
    monkeypatch.setattr(survey, "_sum_over_devices", lambda: 7.0)
    assert survey.survey().problems == ["a sum of 1 over the 8 devices is 7"]


def test_two_processes():
    """Of 4 and of 2 virtual devices: the first one says what both see, and that they differ."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = ["--coordinator", f"localhost:{free.getsockname()[1]}", "--processes", "2"]
    line = ["-m", "vqjax", "devices", "--json", *place]
    started = [start(*line, "--process", process, env=on(4 - 2 * process)) for process in (0, 1)]
    output = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [3, 3], output
    values = json.loads(output[0][output[0].index("{\n") : output[0].rindex("}") + 1])
    assert [facts["local_devices"] for facts in values["processes"]] == [4, 2]
    assert values["problems"] == ["local devices differ: 4 in process 0, 2 in process 1"]


def test_its_flags_are_those_of_train():
    assert devices.parser().parse_args(["--processes=2"]).processes == 2
