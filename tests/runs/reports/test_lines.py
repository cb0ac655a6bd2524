"""metrics.jsonl and timing.jsonl, as a kill or a disk may leave them."""

import pytest

from vqjax.runs.reports.lines import phase_seconds, read_lines, truncate_lines

LINES = [b'{"step": %d, "split": "train", "loss": 0.5}\n' % step for step in (2, 4, 6, 8)]


def flip(text, position):
    return text[:position] + bytes([text[position] ^ 0x80]) + text[position + 1 :]


DAMAGE = {
    "a bit": flip(LINES[1], 20),
    "a bit of a name": LINES[1].replace(b"step", b"stfp"),
    "a bit of another name": LINES[1].replace(b"split", b"sqlit"),
    "no object": b"[2]\n",
    "a text": b'{"step": "4", "split": "train"}\n',
    "deep": b'{"a":' * 100_000 + b"\n",
    "binary": bytes(range(14, 256)) + b"\n",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_line_is_said_and_kept_aside_and_the_others_stay(tmp_path, capsys, name):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join([LINES[0], DAMAGE[name], *LINES[2:]]))
    assert [line["step"] for line in read_lines(path)] == [2, 6, 8]
    truncate_lines(path, 6)
    assert path.read_bytes() == LINES[0] + LINES[2]
    (aside,) = tmp_path.glob("metrics.damaged-*")
    assert aside.read_bytes() == DAMAGE[name]
    assert capsys.readouterr().out == f"{path}: a line cannot be read, kept aside in {aside.name}\n"


def test_half_a_line_at_the_end_is_that_of_a_kill(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(LINES[:2]) + LINES[2][:12])
    truncate_lines(path, 8)
    assert path.read_bytes() == b"".join(LINES[:2])
    assert {*tmp_path.iterdir()} == {path} and not capsys.readouterr().out


def test_without_a_file_there_are_no_lines(tmp_path):
    assert read_lines(tmp_path / "metrics.jsonl") == []
    truncate_lines(tmp_path / "metrics.jsonl", 0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_the_seconds_of_phases_add_up(tmp_path):
    line = '{"step": %d, "seconds": 3.0, "step_seconds": 2.0, "data_seconds": 1.0}\n'
    (tmp_path / "timing.jsonl").write_text(line % 2 + "damaged\n" + line % 4)
    assert phase_seconds(tmp_path) == {"step": 4.0, "data": 2.0}
