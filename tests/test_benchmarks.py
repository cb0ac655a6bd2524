"""The benchmarks run, small; their figures then say nothing about speed."""

import json
import math
import re

import jax
import jax.numpy as jnp
import pytest
from helpers import command, on

from benchmarks import start

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


@pytest.mark.slow
def test_the_start_is_shorter_when_all_is_compiled():
    result = command("-m", "benchmarks.start", "--rounds", "1")
    assert result.returncode == 0, result.stderr
    first, again = ([*map(float, re.findall(r"([\d.]+) s \(", line))] for line in result.stdout.splitlines()[3:])
    assert len(first) == len(again) == len(start.MARKS) and first == sorted(first) and again == sorted(again)
    assert again[-1] < first[-1]


@pytest.mark.slow
def test_the_gpu_script_runs_to_its_end(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "gpu.json"
    result = command("-m", "benchmarks.gpu", "--tiny", "--rows", "cifar10_ema", "--out", out)
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(out.read_text())
    assert not report["left_out"] and [row["mode"] for row in report["rows"]] == ["float32", "tf32", "bfloat16"]
    assert set(report["sampling"]) == {"pixelcnn", "transformer"} and min(report["sampling"].values()) > 0
    for row in report["rows"]:
        assert row["agrees"] and set(row["ms"]) == {"vqjax", "fed", "step", "eager"}
        assert min(*row["ms"].values(), row["share_of_peak"], report["peaks"][row["mode"]]) > 0
        assert f"| cifar10_ema, 8 | {row['mode']} |" in result.stdout


@pytest.mark.slow
def test_operations_are_listed_with_their_work():
    pytest.importorskip("torch")
    result = command("-m", "benchmarks.operations", "--rows", "mnist", "--steps", "2", "--operations", "5")
    assert result.returncode == 0, result.stderr
    kinds, longest = result.stdout.split("| operation |")
    for kind in ("convolution", "product"):
        assert re.search(rf"^\| {kind} \| [\d.]+ \| \d+% \| \d+ \|$", kinds, re.MULTILINE)
    assert len(longest.splitlines()) == 2 + 5
    assert sum(int(share) for share in re.findall(r"(\d+)%", kinds)) in range(85, 105)


@pytest.mark.slow
def test_work_is_counted_from_the_text_of_a_program():
    pytest.importorskip("torch")
    from benchmarks.operations import operations

    def program(x, kernel, weights):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu(y).reshape(-1, 16) @ weights

    arguments = [jnp.ones(shape) for shape in ((2, 8, 8, 4), (3, 3, 4, 16), (16, 10))]
    found = operations(jax.jit(program).lower(*arguments).compile().as_text()).values()
    work = {each.kind: each.flops for each in found if each.flops}
    assert work == {"convolution": 2 * (2 * 8 * 8 * 16) * (3 * 3 * 4), "product": 2 * (2 * 8 * 8 * 10) * 16}
