"""How time and memory of a training step grow with the batch, the codes, the width, the image and the devices.

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.growth --out docs/images

The step is that of configs/cifar10_ema.py, made small, on all devices, and one thing is doubled at a time. The sizes of
an axis are measured in turn. Each axis is a line of the table and a plot, growth_<axis>.png.

Work, in FLOP, and memory are those of one device, by XLA's analysis of the compiled program. XLA counts the body of a
loop once, however often it runs, so work is that of a step that takes its batch in one piece, and the search for the
nearest code, which goes block by block, is counted by hand: 2 N K D. A fitted exponent of 1 is growth in proportion;
above 1, size costs more than its work. The devices share one batch: there 1 is a perfect speed-up, 0 none, and below 0
a slow-down. A CPU is divided into virtual devices, at most one per core. One alone has all cores for its convolutions
already, so these say little of real devices.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from ml_collections import ConfigDict

from benchmarks import rows, turns
from vqjax.ops.search import nearest_codes
from vqjax.runs import devices
from vqjax.system.files import atomic_write
from vqjax.system.memory import retain_freed_memory

# The first of each is what the others are measured with; all devices that there are.
AXES = {
    "batch": (16, 32, 64, 128),
    "codes": (512, 1_024, 2_048, 4_096),
    "width": (32, 64, 128, 256),
    "size": (32, 64, 128, 256),
    "devices": (1, 2, 4, 8),
}
TINY = {"batch": (4, 8), "codes": (16, 32), "width": (4, 8), "size": (8, 16), "devices": (1, 2)}
LABELS = {
    "batch": "batch size",
    "codes": "number of codes K",
    "width": "width",
    "size": "image size, pixels a side",
    "devices": "devices, which share a batch",
}


class Growth(NamedTuple):
    """An axis, size by size.

    Attributes:
      sizes: what is doubled.
      seconds: of a step.
      memory: bytes of a device.
      work: FLOP of a device and step.
    """

    sizes: Sequence[int]
    seconds: Sequence[float]
    memory: Sequence[float]
    work: Sequence[float]

    @property
    def exponents(self) -> tuple[float, float, float]:
        """Exponents of time ~ work^b, memory ~ work^b and memory ~ size^b."""
        pairs = (self.work, self.seconds), (self.work, self.memory), (self.sizes, self.memory)
        return tuple(float(_fit(x, y)[0]) for x, y in pairs)


def _fit(x: Sequence[float], y: Sequence[float]) -> Any:
    """The slope and the offset of log y over log x, by least squares."""
    return np.polyfit(np.log(x), np.log(y), 1)


def prepared(place: Path, batch: int, codes: int, width: int, size: int) -> ConfigDict:
    """cifar10_ema on noise, its residual blocks in proportion to the width."""
    network = {"width": width, "residual_width": width // 4}
    config = rows.prepared(rows.ROWS["cifar10_ema"], place, batch, deepmind=network, ema={"num_codes": codes})
    config.data.size = str(size)
    return config


def analysed(step: rows.Stepper) -> tuple[float, float]:
    """The memory and the work of a step on one device."""
    compiled = step.compiled()
    memory, settings = compiled.memory_analysis(), step.session.settings
    height, width, _ = step.session.task.image_shape
    shared = memory.alias_size_in_bytes  # the new state lies where the old one was
    taken = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes - shared
    devices, model = step.session.layout.devices, settings.model.values
    examples = settings.batch_size // len(devices)
    # A loop over microbatches is counted as one of them.
    whole = rows.Stepper(ConfigDict({**settings.plain, "microbatch": examples}), devices).compiled()
    positions = examples * height * width // 4 ** model["deepmind"]["stages"]
    num_codes, dim = model["ema"]["num_codes"], model["code_dim"]
    vectors = (jax.ShapeDtypeStruct((count, dim), jnp.float32) for count in (positions, num_codes))
    counted = _flops(jax.jit(nearest_codes).lower(*vectors).compile())
    return taken, _flops(whole) - counted + 2 * positions * num_codes * dim


def _flops(compiled: Any) -> float:
    return float(compiled.cost_analysis()["flops"])


def measure(axes: dict[str, tuple[int, ...]], name: str, place: Path, rounds: int, seconds: float) -> Growth:
    """An axis; `seconds` are those of a round, about."""
    base = {**{axis: sizes[0] for axis, sizes in axes.items()}, "devices": None}
    steps, analyses = [], []
    for size in axes[name]:
        sizes = {**base, name: size}
        count = sizes.pop("devices")
        steps.append(rows.Stepper(prepared(place, **sizes), jax.devices()[:count]))
        analyses.append(analysed(steps[-1]))
        steps[-1](2)
    counts = [max(1, round(seconds / turns.seconds(step, 2))) for step in steps]
    times = [[turns.seconds(step, count) for step, count in zip(steps, counts)] for _ in range(rounds)]
    jax.clear_caches()
    return Growth(axes[name], [statistics.median(found) for found in zip(*times)], *zip(*analyses))


def draw(path: Path, name: str, growth: Growth) -> None:
    """Time and memory against the size, with what is fitted."""
    time_by_work, memory_by_work, memory_by_size = (f"$^{{{b:.2f}}}$" for b in growth.exponents)
    milliseconds, mebibytes = 1e3 * np.array(growth.seconds), np.array(growth.memory) / 2**20
    panels = (
        ("ms a step", milliseconds, growth.work, f"work{time_by_work}"),
        ("MiB of a device", mebibytes, growth.sizes, f"{name}{memory_by_size}, work{memory_by_work}"),
    )
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    for panel, (label, values, over, fitted) in zip(figure.subplots(1, 2), panels):
        panel.loglog(growth.sizes, values, "o", color="tab:blue", label="measured")
        curve = np.exp(np.polyval(_fit(over, values), np.log(over)))
        panel.loglog(growth.sizes, curve, "--", color="black", linewidth=0.8, label=f"as {fitted}")
        panel.set(xlabel=LABELS[name], ylabel=label)
        panel.margins(0.1)
        _plain(panel.xaxis, FixedLocator(growth.sizes))
        _plain(panel.yaxis, LogLocator(subs=(1, 2, 5) if max(values) > 4 * min(values) else range(1, 10)))
        panel.grid(alpha=0.3)
        panel.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _plain(axis: Axis, locator: Any) -> None:
    """Plain numbers at the ticks."""
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def line(name: str, growth: Growth) -> str:
    """A row of the table."""
    cells = [f"{size:,}" for size in growth.sizes], [f"{1e3 * x:.3g}" for x in growth.seconds]
    of_device = [f"{x / 2**20:.3g}" for x in growth.memory], [f"{x / 1e9:.3g}" for x in growth.work]
    exponents = [f"{b:.2f}" for b in growth.exponents]
    return f"| {' | '.join([LABELS[name], *map(' / '.join, (*cells, *of_device)), *exponents])} |"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    arguments.add_argument("--out", type=Path, required=True, help="folder of the plots")
    arguments.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=1.0, help="of a round of one size, about")
    arguments.add_argument("--tiny", action="store_true", help="one short round of tiny sizes: only whether it works")
    return arguments


def main() -> None:
    given = parser().parse_args()
    axes, rounds, seconds = (TINY, 1, 0.0) if given.tiny else (AXES, given.rounds, given.seconds)
    retain_freed_memory()  # as the commands do
    devices.set_cpu_device_count(*axes["batch"])
    print(rows.described())
    print("| | sizes | ms a step | MiB of a device | GFLOP of a device | time ~ work^ | memory ~ work^ | ~ size^ |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    axes = {**axes, "devices": tuple(count for count in axes["devices"] if count <= jax.device_count())}
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for name in given.axes:
            if len(axes[name]) > 1:  # else there is one device, and nothing to fit
                growth = measure(axes, name, Path(place), rounds, seconds)
                draw(given.out / f"growth_{name}.png", name, growth)
                print(line(name, growth), flush=True)


if __name__ == "__main__":
    main()
