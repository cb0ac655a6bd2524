"""Training on one GPU against PyTorch with channels last, eager and by torch.compile, in three precisions.

pip install -r requirements.txt "jax[cuda13]" torch && python -m benchmarks.gpu --out gpu.json

In turn, in one process: milliseconds per step of the loop of train.py, of its compiled step alone, of the twins, of
the loop with batches from the host where the data would fit on the device; and codes per second of sampling.
The first loss must be the CPU's, or the exit status is 1. What would not end within --seconds is left out, and listed.
--tiny is for a machine without a GPU: it runs to its end in a minute or two, and its times say nothing.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import torch

from benchmarks import rows, sampling, turns
from vqjax.system.files import atomic_write
from vqjax.training import beginning

NAMES = ("cifar10_ema", "classifier_wide", "cifar10_prior", "cifar10_dalle")  # what matters most comes first
WAYS = ("vqjax", "fed", "step", "eager", "compiled")  # the loop, fed by the host, its step alone, the twin's two
_SAMPLING = 45.0  # seconds that are left for sampling
_SIDE = 8  # of the grids of codes that are drawn


class Mode(NamedTuple):
    """A precision.

    Attributes:
      products: how JAX multiplies what is float32, and PyTorch with it.
      dtype: of the networks' computation.
      tolerance: how far the first loss may be from that of a CPU in float32, as a share of it or, if it is small, of 1.
    """

    products: str
    dtype: str
    tolerance: float


MODES = {
    "float32": Mode("float32", "float32", 1e-4),
    "tf32": Mode("tensorfloat32", "float32", 1e-2),
    "bfloat16": Mode("tensorfloat32", "bfloat16", 3e-2),
}


@contextlib.contextmanager
def entered(mode: Mode) -> Iterator[None]:
    """While it lasts, JAX and PyTorch multiply as the mode says."""
    tf32 = mode.products == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    with jax.default_matmul_precision(mode.products):
        yield


def peak(mode: Mode, size: int) -> float:
    """FLOP/s of a product of two square matrices in JAX, the best of five rounds."""
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), mode.dtype)
    product = jax.jit(lambda a, b: a @ b)

    def run(times: int) -> None:
        jax.block_until_ready([product(a, b) for _ in range(times)])

    run(1)
    return 2 * size**3 / min(turns.seconds(run, 5) for _ in range(5))


def loss_on_cpu(row: rows.Row, batch_size: int, place: Path) -> float:
    """Loss of the first step, in float32."""
    with entered(MODES["float32"]):
        return rows.Stepper(rows.prepared(row, place, batch_size), jax.devices("cpu")[:1])(1)


def measure(row: rows.Row, batch_size: int, mode: Mode, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The first loss, FLOPs and the milliseconds per step of a run, and why torch.compile failed if it did."""
    config = rows.prepared(row, place, batch_size, dtype=mode.dtype)
    step = rows.Stepper(config)
    found: dict[str, Any] = {"loss": step(1), "flops": step.flops()}
    twin = functools.partial(
        rows.Twin,
        row,
        step.batch,
        config.optimizer.name == "amsgrad",
        channels_last=True,
        device="cuda" if jax.default_backend() == "gpu" else "cpu",
        dtype=getattr(torch, mode.dtype),
    )
    others = {"step": step, "eager": twin()}
    if arguments.compile:
        try:
            torch.compiler.reset()  # or else it gives up after a few models
            compiled = twin(compiled=True)
            compiled(2)
            others["compiled"] = compiled
        except Exception as error:  # whatever it is: the rest is measured
            found["not_compiled"] = brief(error)
    seconds = turns.in_turn(config, others, place, arguments.rounds, arguments.seconds_of_round)
    with mock.patch.object(beginning, "fits_on_device", return_value=False):
        seconds["fed"] = turns.in_turn(config, {"step": step}, place, arguments.rounds, arguments.seconds_of_round)[
            "vqjax"
        ]
    found["rounds"] = {name: [1e3 * x for x in times] for name, times in seconds.items()}
    found["ms"] = {name: statistics.median(times) for name, times in found["rounds"].items()}
    return found


def sampled(rounds: int, images: int) -> dict[str, float]:
    """Codes per second of drawing so many images at a time from each prior: {name: median over the rounds}."""
    found = {}
    for name in sampling.PRIORS:
        run = sampling.vqjax_runner(name, _SIDE, images, 1)
        run()  # compiles
        found[name] = _SIDE**2 * images / statistics.median(run() for _ in range(rounds))
    return found


def brief(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]


def judged(found: Mapping[str, Any], mode: Mode, loss: float, flops_per_second: float) -> dict[str, Any]:
    """Figures that follow from a measurement, the CPU's loss and the peak."""
    ms = found["ms"]
    return {
        "loss_on_cpu": loss,
        "agrees": abs(found["loss"] - loss) <= mode.tolerance * max(1.0, abs(loss)),
        "device_busy": ms["step"] / ms["vqjax"],
        "share_of_peak": found["flops"] / (1e-3 * ms["step"] * flops_per_second),
        "times_eager": ms["eager"] / ms["vqjax"],
        **({"times_compiled": ms["compiled"] / ms["vqjax"]} if "compiled" in ms else {}),
    }


def described() -> dict[str, Any]:
    """Device that is measured on."""
    names = ("jax", "jaxlib", "flax", "torch", "numpy")
    versions = {"python": platform.python_version(), "cuda of torch": torch.version.cuda}
    return {
        "device": rows.described(),
        "card": jax.devices()[0].device_kind,
        "versions": {**versions, **{name: importlib.metadata.version(name) for name in names}},
    }


def table(report: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    heads = (
        "run, batch",
        "mode",
        "train.py, ms a step",
        "fed by the host",
        "its step alone",
        "device busy",
        "torch",
        "torch.compile",
    )
    heads = (*heads, "torch / train.py", "torch.compile / train.py", "share of peak", "loss, and the CPU's")
    lines = [report["device"], ""]
    lines += [f"sampling, {name}: {rate:,.0f} codes/s" for name, rate in report["sampling"].items()]
    lines += [f"peak, {mode}: {1e-12 * peak:.3g} TFLOP/s" for mode, peak in report["peaks"].items()]
    lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in report["rows"] if "agrees" in row]
    notes = [f"{_title(row)}: {row[why]}" for row in report["rows"] for why in ("not_compiled", "failed") if why in row]
    notes += [f"left out: {', '.join(report['left_out'])}"] if report["left_out"] else []
    return "\n".join([*lines, "", *notes])


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Figures of a row of the table."""
    vqjax, fed, step, eager, compiled = (f"{row['ms'][way]:.3g}" if way in row["ms"] else "" for way in WAYS)
    ratios = [f"{row[ratio]:.2f}" if ratio in row else "" for ratio in ("times_eager", "times_compiled")]
    loss = f"{row['loss']:.6g}, {row['loss_on_cpu']:.6g}{'' if row['agrees'] else ' DIFFERS'}"
    busy, share = f"{row['device_busy']:.0%}", f"{row['share_of_peak']:.1%}"
    return [
        f"{row['name']}, {row['batch_size']}",
        row["mode"],
        vqjax,
        fed,
        step,
        busy,
        eager,
        compiled,
        *ratios,
        share,
        loss,
    ]


def _title(cell: Mapping[str, Any]) -> str:
    return f"{cell['name']} {cell['batch_size']} {cell['mode']}"


def fill(report: dict[str, Any], place: Path, arguments: argparse.Namespace, end: float) -> None:
    """Measures row by row, what matters most first, until none more fits before the end; each is written at once."""
    table = rows.TINY if arguments.tiny else rows.ROWS
    cells = [
        {"name": name, "batch_size": size, "mode": mode}
        for name in NAMES
        if name in arguments.rows
        for size, mode in itertools.product(table[name].batch_sizes, MODES)
    ]
    report["left_out"] = [_title(cell) for cell in cells]
    longest, losses = 0.0, dict[tuple, float]()
    for cell in cells:
        started = time.monotonic()
        if started + longest > end:
            break
        report["rows"].append(cell)
        report["left_out"].remove(_title(cell))
        (name, size, mode), row = cell.values(), table[cell["name"]]
        try:
            if (name, size) not in losses:
                losses[name, size] = loss_on_cpu(row, size, place)
            with entered(MODES[mode]):
                if mode not in report["peaks"]:
                    report["peaks"][mode] = peak(MODES[mode], 256 if arguments.tiny else 8192)
                found = measure(row, size, MODES[mode], place, arguments)
            cell.update(found, **judged(found, MODES[mode], losses[name, size], report["peaks"][mode]))
        except Exception as error:  # time on a card is short: the others are measured
            cell["failed"] = brief(error)
        longest = max(longest, time.monotonic() - started)
        print(f"{_title(cell)}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        save(report, arguments.out)


def save(report: Mapping[str, Any], out: Path) -> None:
    """Whole or not at all."""
    with atomic_write(out) as path:
        path.write_text(json.dumps(report, indent=1))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    arguments.add_argument("--rows", nargs="+", choices=NAMES, default=NAMES)
    arguments.add_argument("--seconds", type=float, default=540.0, help="none is begun that would end later")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds_of_round", type=float, default=0.5, help="about")
    arguments.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile; off if --tiny")
    arguments.add_argument("--tiny", action="store_true", help="narrow networks, a round of two steps")
    arguments.add_argument("--out", type=Path, default=Path("gpu.json"))
    return arguments


def main() -> int:
    arguments = parser().parse_args()
    end = time.monotonic() + arguments.seconds
    if arguments.compile is None:
        arguments.compile = not arguments.tiny
    if arguments.tiny:
        arguments.rounds, arguments.seconds_of_round = 1, 0.0
    if jax.device_count() > 1:
        parser().error(f"{jax.device_count()} devices, and PyTorch uses one: CUDA_VISIBLE_DEVICES=0")
    torch.backends.cudnn.benchmark = True  # it tries its kernels, as XLA does
    report: dict[str, Any] = {**described(), "peaks": {}, "sampling": {}, "rows": []}
    with tempfile.TemporaryDirectory() as place:
        if not jax.config.jax_compilation_cache_dir:  # the loop finds what its step alone has compiled
            jax.config.update("jax_compilation_cache_dir", str(Path(place) / "compiled"))
        fill(report, Path(place), arguments, end - _SAMPLING)
        report["sampling"] = sampled(arguments.rounds, 4 if arguments.tiny else 64)
    save(report, arguments.out)
    print(table(report))
    return int(not all(row.get("agrees") for row in report["rows"]))


if __name__ == "__main__":
    sys.exit(main())
