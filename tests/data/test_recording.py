"""Games are recorded as clips."""

import hashlib
import json

import numpy as np
import pytest

from vqjax.__main__ import main
from vqjax.system.errors import InputError

SMALL = ["--num", "3", "--frames", "2", "--size", "21x16"]


def test_without_ale_py_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ale_py", None)
    with pytest.raises(InputError, match=r"pip install 'vqjax\[atari\]'"):
        main(["record", "--out", str(tmp_path / "boxing")])


@pytest.mark.filterwarnings("ignore:.*swig:DeprecationWarning")
def test_a_recording_depends_on_its_seed_alone(tmp_path):
    pytest.importorskip("ale_py")
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        main(["record", "--out", str(tmp_path / name), "--seed", str(seed), *SMALL])
        found = {split: np.load(tmp_path / name / f"{split}.npz") for split in ("train", "test")}
        for split in found.values():
            assert split["image"].shape == (3, 2, 21, 16, 3) and split["image"].dtype == np.uint8
        assert not {*found["train"]["episode"]} & {*found["test"]["episode"]}
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["recording.json", "test.npz", "train.npz"]
        digests.append([hashlib.sha256(split["image"].tobytes()).hexdigest() for split in found.values()])
    assert digests[0] == digests[1] and len({*digests[0], *digests[2]}) == 4
    about = json.loads((tmp_path / "c" / "recording.json").read_text())
    assert about["game"] == "boxing" and about["clips"] == {"train": 3, "test": 3} and about["episodes"] == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--game", "boxin"], "--game='boxin' is unknown. Did you mean \"boxing\""),
        (["--num", "0"], "--num=0: expected at least 1"),
        (["--frames", "0"], "--frames=0: expected at least 1"),
        (["--size", "84*84"], "--size='84\\*84': expected a number of pixels, or HxW"),
        (["--frames", "5000"], "--frames=5000: an episode of boxing is shorter than that"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path, arguments, message):
    pytest.importorskip("ale_py")
    with pytest.raises(InputError, match=message):
        main(["record", "--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_other_files_are_left_alone(tmp_path):
    pytest.importorskip("ale_py")
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="expected a recording, an empty directory or none"):
        main(["record", "--out", str(tmp_path), *SMALL])
