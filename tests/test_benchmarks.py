"""The benchmarks whose results are in the documentation run."""

import math

import pytest
from helpers import command, on

AXES = ("batch", "codes", "width", "size", "devices")


@pytest.mark.slow
def test_growth_draws_a_plot_for_each_axis(tmp_path):
    pytest.importorskip("torch")
    result = command("-m", "benchmarks.growth", "--tiny", "--out", tmp_path, env=on(2))
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"growth_{axis}.png" for axis in AXES}
    assert all(0 < path.stat().st_size < 60_000 for path in tmp_path.iterdir())
    _, _, *rows = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == len(AXES)
    for row in rows:
        *_, time, memory, by_size = row.strip("| ").split(" | ")
        assert all(map(math.isfinite, map(float, (time, memory, by_size)))), row
