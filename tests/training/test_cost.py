"""The cost of a run, by figures that another load of the machine does not change.

`RENEW_COSTS=1 python -m pytest -n 0 tests/training/test_cost.py` writes costs.json again, after a change that is meant.
"""

import contextlib
import json
import os
from pathlib import Path

import jax
import pytest
from conftest import slow_but
from helpers import session_of

from vqjax.data.batches import evaluation_batches
from vqjax.runs.devices import PARALLEL, ShardMap
from vqjax.training import loop
from vqjax.training.recorder import Recorder
from vqjax.training.setup import batch_shapes
from vqjax.training.steps import eval_step

RECORDED = Path(__file__).with_name("costs.json")
TOLERANCE = 0.05  # of the FLOPs, and of the bytes that are read and written
CONFIGS = ("small_config", "prior_config")
VERSION = ".".join(jax.__version__.split(".")[:2])  # another one of XLA counts otherwise


def agree(name, found):
    """Whether figures are the recorded ones, nearly; they become so with RENEW_COSTS."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if os.environ.get("RENEW_COSTS"):
        recorded = {"jax": VERSION, **recorded, name: found}
        RECORDED.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")
    if recorded["jax"] != VERSION:
        pytest.skip(f"recorded with jax {recorded['jax']}")
    assert found == pytest.approx(recorded[name], rel=TOLERANCE), f"renew tests/training/{RECORDED.name} if it is meant"


def cost(program, function, *arguments):
    """FLOPs and bytes of a compiled step, by XLA's own analysis."""
    found = program.compile(function).lower(*arguments).compile().cost_analysis()
    return {"flops": found["flops"], "bytes": found["bytes accessed"]}


@pytest.mark.more
@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_costs_what_it_did(name, request):
    """The step of training and that of evaluation, on one device."""
    session = session_of(request.getfixturevalue(name), "shard_map", 1)
    task, batch_size, state = session.task, session.settings.batch_size, session.abstract_state
    training = batch_shapes(session.splits["train"], batch_size)
    evaluation = next(evaluation_batches(session.splits["test"], batch_size))
    assert not task.prepares
    found = {
        "train": cost(session.layout, session.step, state, training),
        "evaluate": cost(session.layout, eval_step(task), state.variables, evaluation),
    }
    figures = {f"{step}, {kind}": value for step, each in found.items() for kind, value in each.items()}
    agree(session.settings.task, figures)


@pytest.fixture
def compiled():
    """The names of what is compiled while a test runs, or read from where it is kept."""
    names = []

    def note(event, duration, **about):
        if event.endswith("backend_compile_duration"):
            names.append(about.get("fun_name", ""))

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.more
def test_a_run_compiles_once_and_copies_once_a_step(small_config, tmp_path, monkeypatch, compiled):
    """After the first step, evaluation and save nothing is compiled but, at the end, the program of the pixels' bits.

    Of a step at most batch and metrics are copied.
    """
    small_config.update({"steps": 16, "log_every": 16, "eval_every": 4, "save_every": 4, "parallel": "shard_map"})
    copied, steps = [], []
    for name in ("shard", "collect"):
        copy = getattr(ShardMap, name)
        monkeypatch.setattr(ShardMap, name, lambda *given, name=name, copy=copy: copied.append(name) or copy(*given))

    def watch(step):
        steps.append((len(compiled), copied.count("shard"), copied.count("collect")))
        if step in (9, 11):  # between two evaluations: what is not said to be copied must not be
            jax.config.update("jax_transfer_guard", "disallow" if step == 9 else "allow")

    try:
        assert loop.train(small_config, tmp_path / "run", on_step=watch) == 0
    finally:
        jax.config.update("jax_transfer_guard", "allow")
    (before, *first), (after, *last) = steps[8], steps[10]
    assert max(b - a for a, b in zip(first, last)) <= 2  # of two steps
    assert before == after and compiled[after:] == ["jit(of_one)"], compiled[before:]
    agree("a run", {"compilations": len(compiled)})


@pytest.mark.more
@pytest.mark.parametrize("parallel", slow_but("pmap", PARALLEL))
@pytest.mark.parametrize("name", slow_but("small_config", [*CONFIGS, "classifier_config"]))
def test_the_first_step_finds_what_was_compiled_before(request, tmp_path, monkeypatch, compiled, name, parallel):
    """In a thread, for shapes alone: whatever those miss of what the first step meets, it would compile again."""
    config, first_call, added = request.getfixturevalue(name), Recorder.first_call, []
    config.update({"steps": 3, "parallel": parallel})
    config.data.update({name: value for name, value in (("flip", True), ("crop", 1)) if name in config.data})

    @contextlib.contextmanager
    def watched(recorder, startup):
        startup.result("step")
        before = len(compiled)
        with first_call(recorder, startup):
            yield
        added.append(compiled[before:])

    monkeypatch.setattr(Recorder, "first_call", watched)
    assert loop.train(config, tmp_path / "run") == 0
    config.steps = 4  # and one that goes on
    assert loop.train(config, tmp_path / "run") == 0
    assert added == [[], []]
