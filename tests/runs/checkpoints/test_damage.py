"""Checkpoints that something has happened to."""

import json
import shutil

import jax
import numpy as np
import optax
import pytest
from helpers import assert_same

from vqjax.runs.checkpoints import Checkpoints
from vqjax.runs.checkpoints.checksums import with_checksum
from vqjax.runs.checkpoints.storage import Storage
from vqjax.runs.state import initial_state
from vqjax.system.errors import InputError

WINDOW = {"count": np.float64(2), "sums": {"loss": np.float64(0.1), "code_frequency": np.arange(3.0)}}


def state_of(step):
    rng = np.random.default_rng(step)
    variables = {
        "params": {"kernel": rng.normal(size=(3, 4)).astype(np.float32)},
        "codebook": {"mean": rng.normal(size=(5, 2)).astype(jax.numpy.bfloat16)},
    }
    return jax.device_get(initial_state(variables, optax.adam(1e-3))._replace(step=np.int32(step)))


TARGET = jax.eval_shape(lambda: state_of(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints, of which the first is the better one."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(directory, create=True) as checkpoints:
        for step, figure in ((2, 1.0), (3, 2.0)):
            checkpoints.save(state_of(step), WINDOW, figure)
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(directory):
    with Checkpoints(directory, create=True) as checkpoints:
        return checkpoints.restore(TARGET)


def flip(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def emptied(path, rng):
    path.write_bytes(b"")


def halved(path, rng):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def removed(path, rng):
    path.unlink()


def unreadable(path, rng):
    path.unlink()
    path.mkdir()


@pytest.mark.more
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax, of its other threads
@pytest.mark.parametrize("damage, times", [(flip, 1), (emptied, 1), (halved, 1), (removed, 1), (unreadable, 1)])
def test_no_damage_to_a_file_is_silently_restored(saved, tmp_path, capsys, damage, times):
    """Whatever happens to any file of the newest step: it comes back as it was saved, or else the one before does."""
    rng, fallen = np.random.default_rng(0), 0
    files = [path.relative_to(saved) for path in sorted((saved / "3").rglob("*")) if path.is_file()]
    for file in [file for file in files if (saved / file).stat().st_size] * times:
        directory = shutil.copytree(saved, tmp_path / "checkpoints")
        damage(directory / file, rng)
        state, window = restored(directory)
        assert_same(state, state_of(int(state.step)))
        assert_same(window, WINDOW)
        output = capsys.readouterr().out
        if state.step == 2:
            fallen += 1
            assert len(output.splitlines()) == 1 and f"{directory}/3" in output and " cannot be read: " in output
            assert len([*directory.glob("3.corrupt-*")]) == 1
        else:
            assert state.step == 3 and not output
        shutil.rmtree(directory)
    assert fallen > times * 3


def test_training_goes_on_after_a_fallback(directory):
    """The next save of the step that was damaged is on disk."""
    shutil.rmtree(directory / "3" / "model")
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.restore(TARGET)[0].step == 2 and checkpoints.latest == 2
        checkpoints.save(state_of(3), WINDOW, 0.5)
        checkpoints.wait_until_finished()
        assert checkpoints.latest == checkpoints.best_or_latest == 3
    assert restored(directory)[0].step == 3


@pytest.mark.parametrize("half", [False, True])
def test_a_directory_that_is_empty_or_half_copied_is_passed_over(directory, half):
    shutil.copytree(directory / "3", directory / "10")
    shutil.rmtree(directory / "10" / "model")
    if not half:
        shutil.rmtree(directory / "10")
        (directory / "10").mkdir()
    assert restored(directory)[0].step == 3


@pytest.mark.parametrize("name", ["007", "٣", "3 (copy)", "-3", "4.corrupt-1"])
def test_a_directory_of_another_name_is_no_step(directory, name, capsys):
    shutil.copytree(directory / "3", directory / name)
    with Checkpoints(directory, create=True) as checkpoints:
        assert checkpoints.steps == [3, 2] and checkpoints.restore(TARGET)[0].step == 3
    assert (directory / name).is_dir() and not capsys.readouterr().out


def test_a_copy_under_another_name_is_no_later_step(directory, capsys):
    shutil.copytree(directory / "3", directory / "40")
    assert restored(directory)[0].step == 3
    assert "40 cannot be read: it is that of step 3" in capsys.readouterr().out


def test_readers_fall_back_and_change_nothing(directory, capsys):
    """Of the best checkpoint, which is damaged, to the newest; but not if a step was asked for."""
    shutil.rmtree(directory / "2" / "model")
    before = sorted(directory.rglob("*"))
    expected = TARGET.variables
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.best_or_latest == 2
        step, variables = checkpoints.restore_variables(expected)
        assert step == 3
        assert_same(variables, state_of(3).variables)
        assert "2 cannot be read: " in (output := capsys.readouterr().out) and "step 3 is used" in output
        with pytest.raises(InputError, match="2 cannot be read"):
            checkpoints.restore_variables(expected, 2)
    assert sorted(directory.rglob("*")) == before


def test_with_none_left_nothing_is_set_aside(directory):
    """So that the next call does not find an empty directory, and begin at 0."""
    for step in ("2", "3"):
        shutil.rmtree(directory / step / "model")
    for _ in range(2):
        with pytest.raises(InputError, match="3 cannot be read: .*\nnone of the others is whole: 3, 2"):
            restored(directory)


@pytest.fixture
def run(saved, tmp_path):
    """The same with what lies beside them: saved.json."""
    shutil.copytree(saved.parent, tmp_path / "run")
    return tmp_path / "run" / "checkpoints"


@pytest.mark.parametrize("with_directory", [False, True])
def test_with_all_gone_nobody_begins_at_0(run, with_directory):
    """The run's files say that there were some."""
    shutil.rmtree(run)
    if with_directory:
        run.mkdir()
    for _ in range(2):
        with pytest.raises(InputError, match="expected the checkpoint of step 3, which was saved; it is gone"):
            Checkpoints(run, create=True)


def test_the_newest_gone_is_said(run, capsys):
    shutil.rmtree(run / "3")
    assert restored(run)[0].step == 2
    assert "step 3, which was saved, is gone; step 2 is used" in capsys.readouterr().out


def test_one_without_a_record_is_no_older_one(run, capsys):
    shutil.rmtree(run / "3" / "record")
    assert restored(run)[0].step == 2
    assert "3 cannot be read: it has no record" in capsys.readouterr().out


RECORD = "record/metadata"
RECORDS = {
    "not json": b"{",
    "deep": b'{"a":' * 100_000,
    "a list": b"[]",
    "another figure": None,
    "more fields": json.dumps(with_checksum({"step": 2, "other": 1})).encode(),
    "empty": b"",
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record_is_told_by_readers_and_set_aside_by_writers(run, capsys, name):
    """Of the best checkpoint: without its figure nobody knows that it was the best."""
    path = run / "2" / RECORD
    changed = json.dumps({**json.loads(path.read_text()), "monitored": 0.5}).encode()
    path.write_bytes(changed if RECORDS[name] is None else RECORDS[name])
    for _ in range(2):
        with Checkpoints(run) as checkpoints:
            assert checkpoints.steps == [3] and checkpoints.restore_variables(TARGET.variables)[0] == 3
            with pytest.raises(InputError, match="/2 cannot be read"):
                checkpoints.restore_variables(TARGET.variables, 2)
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 1 and "/2 cannot be read" in output and len(output) < 500
    with Checkpoints(run, create=True) as checkpoints:
        assert checkpoints.steps == [3] and checkpoints.best_or_latest == 3
    assert "set aside as 2.corrupt-" in capsys.readouterr().out and [*run.glob("2.corrupt-*")]


def test_with_all_records_damaged_nothing_is_set_aside(run):
    for step in (2, 3):
        (run / str(step) / RECORD).write_bytes(b"{")
    for create in (False, True, True):
        with pytest.raises(InputError, match="3 cannot be read: .*\nnone of the others is whole: 3, 2"):
            Checkpoints(run, create)


def test_training_goes_on_after_a_damaged_record(run):
    """The step that was set aside is saved again, and seen."""
    (run / "3" / RECORD).unlink()
    with Checkpoints(run, create=True) as checkpoints:
        assert checkpoints.restore(TARGET)[0].step == 2
        checkpoints.save(state_of(3), WINDOW, 0.5)
        assert checkpoints.wait_until_finished() == checkpoints.best_or_latest == 3
    assert restored(run)[0].step == 3


def test_a_damaged_note_of_what_was_saved_is_an_error(run):
    run.with_name("saved.json").write_text("{")
    with pytest.raises(InputError, match="saved.json cannot be read"):
        Checkpoints(run, create=True)


def test_a_save_is_read_again_before_an_older_one_goes(run, capsys, monkeypatch):
    """One that is not on disk as it was saved is set aside at the next save, when the one before is still there."""
    wait, seen = Storage.wait, []

    def wait_and_damage(storage):
        wait(storage)
        if (run / "4").is_dir() and not seen:
            for path in (run / "4" / "model").rglob("*"):
                if path.is_file():
                    path.write_bytes(path.read_bytes()[:10])
            seen.extend(checkpoints.steps)

    monkeypatch.setattr(Storage, "wait", wait_and_damage)
    with Checkpoints(run, create=True) as checkpoints:
        checkpoints.save(state_of(4), WINDOW)
        checkpoints.save(state_of(5), WINDOW)
    assert seen == [4, 3, 2]  # 2 is the best one
    assert f"{run}/4 cannot be read" in capsys.readouterr().out
    with Checkpoints(run) as checkpoints:
        assert checkpoints.steps == [5, 3, 2]
    assert restored(run)[0].step == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_of_two_hundred_flipped_bits_none_is_silently_restored(saved, tmp_path, capsys):
    rng, before = np.random.default_rng(1), 0
    files = [path.relative_to(saved) for path in sorted((saved / "3").rglob("*")) if path.is_file()]
    files = [file for file in files if (saved / file).stat().st_size]
    for i in range(200):
        directory = shutil.copytree(saved, tmp_path / "checkpoints")
        flip(directory / files[i % len(files)], rng)
        state, window = restored(directory)
        assert_same(state, state_of(int(state.step)))
        assert_same(window, WINDOW)
        before += state.step == 2
        shutil.rmtree(directory)
    with capsys.disabled():
        print(f"\n200 flips: {before} times the step before, {200 - before} harmless, 0 silently wrong")
