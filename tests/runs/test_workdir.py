"""The workdir: what a run is."""

import json

import numpy as np
import optax
import pytest
from helpers import rewrite

from vqjax.config.plain import to_plain
from vqjax.runs.state import initial_state
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import WriteError
from vqjax.training import loop
from vqjax.training.evaluation import evaluate


@pytest.fixture
def workdir(tmp_path, small_config):
    workdir = Workdir(tmp_path / "run")
    workdir.create(to_plain(small_config), {"variance": 0.1, "image_shape": [8, 8, 1]})
    return workdir


BROKEN = [b'{"half": ', b"", b"[1, 2]", b'"text"', b"\xff\xfe", b'{"a":' * 100_000, b"[" * 100_000]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("name, read", [("config.json", "config"), ("run.json", "facts"), ("run.json", "checkpoints")])
def test_a_broken_file_is_named(workdir, name, read, content):
    (workdir.path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} cannot be read") as refused:
        getattr(workdir, read)()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "fact, value",
    [
        ("image_shape", "x"),
        ("image_shape", [8, 8, 1e308]),
        ("image_shape", [8, -8, 1]),
        ("class_names", "ab"),
        ("class_names", [1, 2]),
        ("variance", 0),
        ("variance", "large"),
        ("grid", [0]),
        ("dataset", None),
        ("stage1", {}),
        ("format", True),
        ("format", 0),
    ],
)
def test_a_fact_that_cannot_be_is_refused_in_a_line(workdir, fact, value):
    rewrite(workdir.path / "run.json", **{fact: value})
    with pytest.raises(InputError, match=f"run.json: {fact}.*expected") as refused:
        workdir.facts()
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("versions", [None, "0.1.0", [], {"vqjax": 3}])
def test_versions_that_are_none_do_not_hide_the_error(workdir, versions):
    rewrite(workdir.path / "run.json", format=99, versions=versions)
    with pytest.raises(InputError, match="made by a newer vqjax"):
        workdir.facts()


def test_a_path_that_cannot_be_written_to(small_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written to: Not a directory"):
        Workdir(tmp_path / "file" / "run").create(to_plain(small_config), {})


def test_resuming_keeps_what_the_run_began_with(workdir, small_config):
    before = workdir.facts()
    small_config.steps = 99
    workdir.create(to_plain(small_config), {"variance": 0.5})
    assert workdir.facts() == before and workdir.config().steps == 99


def test_the_workdir_describes_itself(workdir, small_config):
    assert workdir.config().to_dict() == to_plain(small_config)  # JSON has no tuples
    facts = workdir.facts()
    assert facts["variance"] == 0.1 and facts["format"] == 1
    assert {"jax", "flax", "orbax-checkpoint"} <= set(facts["versions"]) and facts["git_commit"]


def test_a_later_format_is_refused(workdir):
    rewrite(workdir.path / "run.json", format=99)
    with pytest.raises(
        InputError, match="made by a newer vqjax, .*git commit .*: its format is 99, and this version, .* up to 1"
    ):
        workdir.facts()


def test_what_may_change_on_resume_and_what_may_not(workdir, small_config):
    assert workdir.reconcile(to_plain(small_config)) == {}
    small_config.update({"steps": 12, "parallel": "shard_map"})
    assert workdir.reconcile(to_plain(small_config)) == {"steps": (6, 12), "parallel": ("pmap", "shard_map")}
    small_config.model.ema.num_codes = 32
    small_config.seed = 5
    with pytest.raises(InputError, match=r"holds another run:\nconfig.model.ema.num_codes=32, there 16\nconfig.seed=5"):
        workdir.reconcile(to_plain(small_config))


def test_steps_are_not_taken_back(workdir, small_config):
    state = initial_state({"params": {"kernel": np.zeros(3, np.float32)}}, optax.sgd(1e-3))
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state._replace(step=np.int32(4)), {"count": np.float64(0), "sums": {}})
    small_config.steps = 4
    assert workdir.reconcile(to_plain(small_config)) == {"steps": (6, 4)}
    small_config.steps = 3
    with pytest.raises(InputError, match="config.steps=3: the run in .* has 4 already"):
        workdir.reconcile(to_plain(small_config))


def test_a_directory_of_other_files_is_not_taken(tmp_path, small_config):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="expected a run or an empty directory, found other files"):
        Workdir(tmp_path).reconcile(to_plain(small_config))
    with pytest.raises(InputError, match="expected a directory, found a file"):
        Workdir(tmp_path / "thesis.tex").reconcile(to_plain(small_config))
    with pytest.raises(InputError, match=r"expected a run, found no config.json"):
        Workdir(tmp_path).config()


@pytest.mark.parametrize("again", ["evaluate", "train on", "train again"])
def test_no_figures_come_of_a_run_whose_facts_were_changed(stage1, small_config, again):
    """A variance of another value is another loss."""
    facts = json.loads((stage1 / "run.json").read_text())
    (stage1 / "run.json").write_text(json.dumps({**facts, "variance": 0.5}))
    small_config.steps += 2 * (again == "train on")
    before = (stage1 / "eval.json").read_bytes()
    with pytest.raises(InputError, match="run.json is not what it was when step 6 was saved"):
        evaluate(Workdir(stage1)) if again == "evaluate" else loop.train(small_config, stage1)
    assert (stage1 / "eval.json").read_bytes() == before


def test_the_identity_is_that_of_the_run_however_far_it_is_trained(workdir, small_config):
    before = workdir.identity
    small_config.update({"steps": 99, "log_every": 7, "parallel": "shard_map"})
    small_config.data.workers = 3
    workdir.create(to_plain(small_config), {})
    assert workdir.identity == before
    small_config.data.validation = 0.3
    workdir.create(to_plain(small_config), {})
    assert workdir.identity != before
