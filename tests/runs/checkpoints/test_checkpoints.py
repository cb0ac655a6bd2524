"""Checkpoints of a run: what comes back, and which of them stay."""

import json

import jax
import numpy as np
import optax
import pytest

from vqjax.config.plain import to_plain
from vqjax.runs.checkpoints import pins
from vqjax.runs.checkpoints.record import Record
from vqjax.runs.checkpoints.retention import best_step, kept_steps
from vqjax.runs.state import initial_state
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError

EMPTY = {"count": np.float64(0), "sums": {}}  # a window of no steps
OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def state_of(step, scale=1.0):
    rng = np.random.default_rng(step)
    variables = {
        "params": {"encoder": {"kernel": rng.normal(size=(3, 4)).astype(np.float32) * scale}},
        "codebook": {"quantizer": {"mean": rng.normal(size=(5, 2)).astype(np.float32)}},
    }
    return jax.device_get(initial_state(variables, OPTIMIZER)._replace(step=np.int32(step)))


@pytest.fixture
def workdir(tmp_path, small_config):
    workdir = Workdir(tmp_path / "run")
    workdir.create(to_plain(small_config), {"variance": 0.1, "image_shape": [8, 8, 1]})
    return workdir


def test_everything_comes_back(workdir):
    """Variables, optimizer with its own types, step, and the running mean, in a fresh manager."""
    window = {"count": np.float64(2), "sums": {"loss": np.float64(0.1), "code_frequency": np.arange(3.0)}}
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(3), window)
    with workdir.checkpoints() as checkpoints:
        state, restored = checkpoints.restore(jax.eval_shape(lambda: state_of(0)))
    assert jax.tree.structure(state) == jax.tree.structure(state_of(3))
    jax.tree.map(np.testing.assert_array_equal, state, state_of(3))
    jax.tree.map(np.testing.assert_array_equal, restored, window)


def test_an_empty_window_comes_back(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(1), EMPTY)
    with workdir.checkpoints() as checkpoints:
        assert checkpoints.restore(state_of(1))[1]["count"] == 0


def test_the_latest_two_and_the_best_are_kept(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for step, figure in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 4.0), (6, None)):
            checkpoints.save(state_of(step), EMPTY, figure)
        checkpoints.wait_until_finished()
    expected = jax.eval_shape(lambda: state_of(0).variables)
    with workdir.checkpoints() as checkpoints:
        assert sorted(int(path.name) for path in checkpoints.directory.iterdir()) == [2, 5, 6]
        assert (checkpoints.latest, checkpoints.best_or_latest) == (6, 2)
        step, variables = checkpoints.restore_variables(expected)
        assert step == 2
        jax.tree.map(np.testing.assert_array_equal, variables, state_of(2).variables)
        assert checkpoints.restore_variables(expected, 5)[0] == 5
        with pytest.raises(InputError, match=r"--step=4: no such checkpoint .*\nKept: 2, 5, 6"):
            checkpoints.restore_variables(expected, 4)


def test_without_a_figure_the_latest_is_chosen(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        assert checkpoints.latest is checkpoints.best_or_latest is None
        with pytest.raises(InputError, match="expected a checkpoint, found none"):
            checkpoints.restore_variables(state_of(0).variables)
        checkpoints.save(state_of(7), EMPTY)
        checkpoints.wait_until_finished()
        assert checkpoints.best_or_latest == 7


def test_a_figure_that_is_not_finite_is_never_the_best(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for step, figure in enumerate((3.0, 1.0, np.nan, np.inf, np.nan), start=1):
            checkpoints.save(state_of(step), EMPTY, figure)
        checkpoints.wait_until_finished()
        assert (checkpoints.latest, checkpoints.best_or_latest) == (5, 2)


def test_of_figures_that_are_not_finite_none_is_chosen(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for step, figure in enumerate((np.nan, np.inf, np.nan), start=1):
            checkpoints.save(state_of(step), EMPTY, figure)
        checkpoints.wait_until_finished()
        assert checkpoints.best_or_latest == checkpoints.latest == 3


def test_reading_makes_no_directory(workdir):
    with pytest.raises(InputError, match="expected a checkpoint, found none"):
        workdir.checkpoints()
    assert not (workdir.path / "checkpoints").exists()


def test_a_step_before_the_latest_is_not_saved(workdir):
    """It would not be among the latest two, and go at once."""
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(7), EMPTY)
        with pytest.raises(ValueError, match="step 6 comes before step 7, which is saved"):
            checkpoints.save(state_of(6), EMPTY)


def test_another_shape_or_dtype_is_refused(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(1), EMPTY)
    other = state_of(1)
    other.params["encoder"]["kernel"] = np.zeros((3, 4), np.float16)
    with workdir.checkpoints() as checkpoints, pytest.raises(InputError, match="kernel.* is float32.*expected float16"):
        checkpoints.restore(other)


def test_pinned_checkpoints_are_kept(workdir):
    """Also those that get their pin while the run goes on; a damaged pin still counts, by its name."""
    with workdir.checkpoints(create=True) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(state_of(step), EMPTY)
            checkpoints.wait_until_finished()
            if step in (1, 4):
                pins.pin(workdir.path / "pins", step, f"f{step}", workdir.path / "prior")
        (workdir.path / "pins" / "1-f1.json").write_text("{")
    with workdir.checkpoints() as checkpoints:
        assert checkpoints.steps == [6, 5, 4, 1]
    for run in ("prior", "other"):
        pins.pin(workdir.path / "pins", 4, "f4", workdir.path / run)
    assert pins.pinned(workdir.path / "pins") == {"f1": 1, "f4": 4}
    runs = json.loads((workdir.path / "pins" / "4-f4.json").read_text())["runs"]
    assert runs == [str(workdir.path / run) for run in ("other", "prior")]
    pins.unpin(workdir.path / "pins", workdir.path / "prior")
    assert pins.pinned(workdir.path / "pins") == {"f1": 1, "f4": 4}
    pins.unpin(workdir.path / "pins", workdir.path / "other")
    assert pins.pinned(workdir.path / "pins") == {"f1": 1}


def record_of(step, monitored=None):
    return Record(step, 0, 0, monitored, {}, {})


@pytest.mark.parametrize(
    "figures, pinned, best, kept",
    [
        ({}, [], None, set()),
        ({1: None}, [], None, {1}),
        ({1: None, 2: None, 3: None}, [], None, {2, 3}),
        ({1: 3.0, 2: 1.0, 3: 2.0, 4: None, 5: 4.0}, [], 2, {2, 4, 5}),
        ({1: 1.0, 2: 2.0, 3: 1.0, 4: 2.0, 5: 2.0}, [], 3, {3, 4, 5}),  # of equal figures the latest
        ({1: 0.0, 2: -1.0, 3: None, 4: None}, [1], 2, {1, 2, 3, 4}),
        ({1: None, 2: None, 3: None}, [7], None, {2, 3}),  # a pin whose checkpoint is gone
    ],
)
def test_which_checkpoints_stay(figures, pinned, best, kept):
    records = {step: record_of(step, figure) for step, figure in figures.items()}
    assert best_step(records) == best and kept_steps(records, pinned) == kept


def test_a_step_gets_its_figure_later_without_being_deleted_first(workdir):
    """As after an evaluation that a signal put off: a kill in between would leave no checkpoint at all."""
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(3), EMPTY)
        checkpoints.wait_until_finished()
        arrays = {path: path.stat().st_mtime_ns for path in checkpoints.directory.rglob("*") if "model" in path.parts}
        checkpoints.save(state_of(3), EMPTY, 2.0)
        checkpoints.save(state_of(4), EMPTY, 3.0)
        checkpoints.wait_until_finished()
        assert arrays == {path: path.stat().st_mtime_ns for path in arrays} and checkpoints.best_or_latest == 3
    with workdir.checkpoints() as checkpoints:
        assert checkpoints.best_or_latest == 3
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(state_of(0))[0], state_of(4))


def test_a_step_is_replaced_by_another_state_of_it(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for scale in (1.0, 2.0):
            checkpoints.save(state_of(3, scale), EMPTY)
    with workdir.checkpoints() as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(state_of(0))[0], state_of(3, 2.0))


def test_a_deletion_that_was_cut_off_is_no_damaged_checkpoint(workdir, capsys):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(3), EMPTY)
    (checkpoints.directory / "2.deleted-1" / "model").mkdir(parents=True)
    with workdir.checkpoints(create=True) as checkpoints:
        assert checkpoints.steps == [3] and checkpoints.restore(state_of(0))[0].step == 3
        checkpoints.save(state_of(4), EMPTY)
    assert {path.name for path in checkpoints.directory.iterdir()} == {"3", "4"} and not capsys.readouterr().out


@pytest.mark.parametrize("restore", ["restore", "restore_variables", "is_intact"])
@pytest.mark.parametrize(
    "file, change",
    [
        ("run.json", lambda content: content.update(variance=0.2)),
        ("run.json", lambda content: content.pop("image_shape")),
        ("config.json", lambda content: content["model"]["ema"].update(decay=0.5)),
        ("config.json", lambda content: content["data"].update(validation=0.3)),
    ],
)
def test_what_the_figures_hang_on_must_be_what_it_was(workdir, file, change, restore):
    """A digit that flips in the variance or in the config would give other figures without a word."""
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(3), EMPTY)
    content = json.loads((workdir.path / file).read_text())
    change(content)
    (workdir.path / file).write_text(json.dumps(content))
    with workdir.checkpoints() as checkpoints, pytest.raises(InputError) as refused:
        getattr(checkpoints, restore)(state_of(0) if restore == "restore" else state_of(0).variables)
    assert f"{workdir.path / file} is not what it was when step 3 was saved" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 5


def test_what_may_change_on_resume_and_how_a_run_was_made_is_not_under_the_checksum(workdir, small_config):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(3), EMPTY)
    small_config.update({"steps": 100, "parallel": "shard_map", "save_every": 3})
    small_config.data.path = "elsewhere"
    workdir.create(to_plain(small_config), {})
    content = json.loads((workdir.path / "run.json").read_text())
    (workdir.path / "run.json").write_text(json.dumps({**content, "command": "python train.py", "hardware": "other"}))
    with workdir.checkpoints() as checkpoints:
        assert checkpoints.restore(state_of(0))[0].step == 3
