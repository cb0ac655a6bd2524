import json

import jax
import numpy as np
import optax
import pytest

from vqjax.runs import pins
from vqjax.runs.state import initial_state
from vqjax.runs.workdir import Workdir, to_plain
from vqjax.system.errors import InputError
from vqjax.system.files import WriteError

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
    workdir.create(small_config, {"variance": 0.1, "image_shape": [8, 8, 1]})
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
        checkpoints.save(state_of(1), {"count": np.float64(0), "sums": {}})
    with workdir.checkpoints() as checkpoints:
        assert checkpoints.restore(state_of(1))[1]["count"] == 0


def test_the_latest_two_and_the_best_are_kept(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for step, figure in ((1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 4.0), (6, None)):
            checkpoints.save(state_of(step), {"count": np.float64(0), "sums": {}}, figure)
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
        checkpoints.save(state_of(7), {"count": np.float64(0), "sums": {}})
        checkpoints.wait_until_finished()
        assert checkpoints.best_or_latest == 7


def test_a_figure_that_is_not_finite_is_never_the_best(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for step, figure in enumerate((3.0, 1.0, np.nan, np.inf, np.nan), start=1):
            checkpoints.save(state_of(step), {"count": np.float64(0), "sums": {}}, figure)
        checkpoints.wait_until_finished()
        assert (checkpoints.latest, checkpoints.best_or_latest) == (5, 2)


def test_of_figures_that_are_not_finite_none_is_chosen(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        for step, figure in enumerate((np.nan, np.inf, np.nan), start=1):
            checkpoints.save(state_of(step), {"count": np.float64(0), "sums": {}}, figure)
        checkpoints.wait_until_finished()
        assert checkpoints.best_or_latest == checkpoints.latest == 3 and not checkpoints._best_known


def test_reading_makes_no_directory(workdir):
    with pytest.raises(InputError, match="expected a checkpoint, found none"):
        workdir.checkpoints()
    assert not (workdir.path / "checkpoints").exists()


@pytest.mark.parametrize("name, read", [("config.json", "config"), ("run.json", "facts")])
def test_a_broken_file_is_named(workdir, name, read):
    (workdir.path / name).write_text('{"half": ')
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        getattr(workdir, read)()


def test_a_path_that_cannot_be_written_to(small_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written to: Not a directory"):
        Workdir(tmp_path / "file" / "run").create(small_config, {})


def test_resuming_keeps_what_the_run_began_with(workdir, small_config):
    before = workdir.facts()
    small_config.steps = 99
    workdir.create(small_config, {"variance": 0.5})
    assert workdir.facts() == before and workdir.config().steps == 99


def test_a_save_that_orbax_declines_is_an_error(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(7), {"count": np.float64(0), "sums": {}})
        with pytest.raises(RuntimeError, match="did not save step 6"):
            checkpoints.save(state_of(6), {"count": np.float64(0), "sums": {}})


def test_another_shape_or_dtype_is_refused(workdir):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(1), {"count": np.float64(0), "sums": {}})
    other = state_of(1)
    other.params["encoder"]["kernel"] = np.zeros((3, 4), np.float16)
    with workdir.checkpoints() as checkpoints, pytest.raises(InputError, match="kernel.* is float32.*expected float16"):
        checkpoints.restore(other)


def test_the_workdir_describes_itself(workdir, small_config):
    assert workdir.config().to_dict() == to_plain(small_config)  # JSON has no tuples
    facts = workdir.facts()
    assert facts["variance"] == 0.1 and facts["format"] == 1
    assert {"jax", "flax", "orbax-checkpoint"} <= set(facts["versions"]) and facts["git_commit"]


def test_a_later_format_is_refused(workdir):
    path = workdir.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(
        InputError, match="made by a newer vqjax, .*git commit .*: its format is 99, and this version, .* up to 1"
    ):
        workdir.facts()


def test_what_may_change_on_resume_and_what_may_not(workdir, small_config):
    workdir.check(small_config)
    assert workdir.differences(small_config) == {}
    small_config.update({"steps": 12, "parallel": "shard_map"})
    workdir.check(small_config)
    assert workdir.differences(small_config) == {"steps": (6, 12), "parallel": ("pmap", "shard_map")}
    small_config.model.ema.num_codes = 32
    small_config.seed = 5
    with pytest.raises(InputError, match=r"holds another run:\nconfig.model.ema.num_codes=32, there 16\nconfig.seed=5"):
        workdir.check(small_config)


def test_steps_are_not_taken_back(workdir, small_config):
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state_of(4), {"count": np.float64(0), "sums": {}})
    small_config.steps = 4
    workdir.check(small_config)
    assert workdir.differences(small_config) == {"steps": (6, 4)}
    small_config.steps = 3
    with pytest.raises(InputError, match="config.steps=3: the run in .* has 4 already"):
        workdir.check(small_config)


def test_a_directory_of_other_files_is_not_taken(tmp_path, small_config):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="expected a run or an empty directory, found other files"):
        Workdir(tmp_path).check(small_config)
    with pytest.raises(InputError, match="expected a directory, found a file"):
        Workdir(tmp_path / "thesis.tex").check(small_config)
    with pytest.raises(InputError, match=r"expected a run, found no config.json"):
        Workdir(tmp_path).config()


def test_pinned_checkpoints_are_kept(workdir):
    """Also those that get their pin while the run goes on; a damaged pin still counts, by its name."""
    with workdir.checkpoints(create=True) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(state_of(step), {"count": np.float64(0), "sums": {}})
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
