"""Where the time of a training step goes, operation by operation, on one core of a CPU and one device.

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.operations --rows cifar10_ema
"""

import argparse
import collections
import gzip
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks import rows, turns
from vqjax.system import memory
from vqjax.training import profiling

_NAME, _SHAPE = r"%([\w.\-]+)", r"\w+\[([\d,]*)\]"
_RESULT = re.compile(r"\s*(?:ROOT )?" + _NAME + r" = \(?" + _SHAPE)
_PRODUCT = re.compile(r"\s*(?:ROOT )?" + _NAME + r" = " + _SHAPE + r"\S* (dot|convolution)\(" + _NAME + ", " + _NAME)


class Operation(NamedTuple):
    """One of a compiled program.

    Attributes:
      name: XLA's.
      kind: "product" or "convolution" if that is in it, otherwise the name without its number.
      flops: of products and convolutions.
      place: where it comes from: a path of modules.
    """

    name: str
    kind: str
    flops: float
    place: str


def operations(hlo: str) -> dict[str, Operation]:
    """Operations of a program, by name, from its text; a fusion is one."""
    shapes: dict[str, tuple[int, ...]] = {}
    inside: dict[str, Operation] = {}  # by the computation that a fusion calls
    found: dict[str, Operation] = {}
    computation = ""
    for line in hlo.splitlines():
        if line.endswith("{"):
            computation = line.split(" ")[0].lstrip("%")
            shapes |= {name: _sizes(sizes) for name, sizes in re.findall(r"([\w.\-]+): " + _SHAPE, line)}
        if not (result := _RESULT.match(line)):
            continue
        name, sizes = result.groups()
        shapes[name] = _sizes(sizes)
        if re.search(r" (while|conditional|call)\(", line):  # their time is that of what they hold
            continue
        place = _place(line)
        found[name] = Operation(name, re.sub(r"[.\d]+$", "", name), 0.0, place)
        called = re.search(r"calls=" + _NAME, line)
        if product := _PRODUCT.match(line):
            kind, left, right = product.groups()[2:]
            flops = 2.0 * math.prod(shapes[name]) * _summed(line, kind, shapes[left], shapes[right])
            found[name] = Operation(name, {"dot": "product"}.get(kind, kind), flops, place)
            inside[computation] = found[name]
        elif called and called.group(1) in inside:
            held = inside[called.group(1)]
            found[name] = held._replace(name=name, place=place or held.place)
    return found


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _place(line: str) -> str:
    """jit(step)/transpose(jvp(Net))/Net.encode/encoder/Conv_0/... -> encoder/Conv_0, backward."""
    found = re.search(r'op_name="([^"]*)"', line)
    parts = found.group(1).split("/") if found else []
    names = [
        part
        for part in parts
        if re.fullmatch(r"\w+", part) and not re.fullmatch("cond|while|body|branch_\\d_fun", part)
    ]
    way = ", backward" if "transpose(" in line.split("metadata=")[-1] else ""
    return "/".join(names[:-1][-3:]) + way


def _summed(line: str, kind: str, left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Over how many numbers each one of the output of a product or a convolution is a sum."""
    if kind == "dot":
        dims = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line)
        return math.prod(left[dim] for dim in _sizes(dims.group(1))) if dims else 1
    layout = re.search(r"dim_labels=\w+_(\w+)->", line)
    return math.prod(size for size, label in zip(right, layout.group(1)) if label != "o") if layout else 1


def traced(step: rows.Stepper, steps: int) -> Mapping[str, tuple[float, float]]:
    """{operation: its milliseconds in a step, and how often it is done}, by JAX's profiler."""
    with tempfile.TemporaryDirectory() as place:
        profiling.start_trace(Path(place))
        step(steps)
        jax.profiler.stop_trace()
        (file,) = profiling.trace_files(Path(place))
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    durations: collections.defaultdict[str, list[float]] = collections.defaultdict(list)
    for event in events:
        if event.get("ph") == "X":
            durations[event["name"]].append(event["dur"])
    return {name: (sum(each) / 1e3 / steps, len(each) / steps) for name, each in durations.items()}


def table(given: Mapping[str, Operation], taken: Mapping[str, tuple[float, float]], count: int) -> Iterator[str]:
    """Lines: the kinds, those with FLOPs first, and the longest operations."""
    known = {name: ms for name, (ms, _) in taken.items() if name in given}
    mflops = {name: given[name].flops / 1e6 * taken[name][1] for name in known}
    total = sum(known.values())
    kinds: collections.defaultdict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
    for name, ms in known.items():
        kinds[given[name].kind][0] += ms
        kinds[given[name].kind][1] += mflops[name]
    yield "| kind | ms a step | share | GFLOP/s |\n| --- | --- | --- | --- |"
    for kind, (ms, mflop) in sorted(kinds.items(), key=lambda item: (not item[1][1], -item[1][0])):
        if ms >= 0.005 * total:
            yield f"| {kind} | {ms:.2f} | {ms / total:.0%} | {f'{mflop / ms:.0f}' if mflop else ''} |"
    yield "\n| operation | ms a step | GFLOP/s | of |\n| --- | --- | --- | --- |"
    for name, ms in sorted(known.items(), key=lambda item: -item[1])[:count]:
        rate = mflops[name] / ms
        yield f"| {name} | {ms:.2f} | {f'{rate:.0f}' if rate else ''} | {given[name].place} |"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.operations", description=__doc__)
    arguments.add_argument("--rows", nargs="+", choices=rows.ROWS, default=["cifar10_ema"])
    arguments.add_argument("--batch", type=int, default=16, help="of one device (default: 16)")
    arguments.add_argument("--operations", type=int, default=20, help="the longest are listed (default: 20)")
    arguments.add_argument("--steps", type=int, default=10, help="of the trace (default: 10)")
    return arguments


def main() -> None:
    arguments = parser().parse_args()
    if hasattr(os, "sched_setaffinity"):  # before JAX starts: then what it leaves to other threads is measured, too
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    memory.retain_freed_memory()
    print(rows.described())
    with tempfile.TemporaryDirectory() as place:
        for name in arguments.rows:
            step = rows.Stepper(rows.prepared(rows.ROWS[name], Path(place), arguments.batch), jax.devices()[:1])
            step(2)
            ms = 1e3 * turns.seconds(step, arguments.steps)
            print(f"\n{name}, batch {arguments.batch}: {ms:.1f} ms a step\n")
            print(
                "\n".join(
                    table(operations(step.compiled().as_text()), traced(step, arguments.steps), arguments.operations)
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
