"""Sampling from the priors against PyTorch's way, over grids and batches, on one device and on one for each core.

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.sampling

PyTorch's way is pytorch-vqvae's: the whole PixelCNN once for each code. A pass takes as long wherever in the grid it is
asked for, so that a few passes are measured, and counted as often as there are codes. All are measured in turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.rows import described
from benchmarks.torch_pixelcnn import PixelCNN as Twin
from vqjax.codes import CodeLayout, single_level
from vqjax.networks.priors import PixelCNN, Prior, Transformer
from vqjax.networks.priors.sampling import ANCESTRAL, sample
from vqjax.runs import devices
from vqjax.runs.devices import PARALLEL
from vqjax.system.memory import retain_freed_memory

K, CLASSES, WIDTH, LAYERS, HEAD = 512, 10, 64, 15, 512
PRIORS: dict[str, Callable[[CodeLayout], Prior]] = {
    "pixelcnn": lambda layout: PixelCNN(layout, CLASSES, jnp.float32, WIDTH, LAYERS, HEAD, 0.0),
    "transformer": lambda layout: Transformer(layout, CLASSES, jnp.float32, 128, 8, 4, 0.0, "any", 0.5),
}
GRIDS = (4, 8, 16)
BATCHES = (4, 16, 64, 256)
PASSES = 2  # of PyTorch's network in a round
CODES = 2**14  # of a batch, at most: a round stays short

Runner = Callable[[], float]  # -> seconds of a batch


def vqjax_runner(name: str, side: int, batch: int, count: int) -> Runner:
    """Return what draws a batch from a prior of PRIORS on so many devices."""
    labels = np.arange(batch, dtype=np.int32) % CLASSES
    prior = PRIORS[name](single_level((side, side), K))
    variables = jax.jit(prior.init)(jax.random.key(1), jnp.zeros((1, side * side), jnp.int32), jnp.zeros(1, jnp.int32))
    program = PARALLEL["shard_map"](jax.devices()[:count])

    def draw(variables, batch):
        return sample(prior, variables, batch["label"], batch["example"], 0, ANCESTRAL)

    compiled, fixed = program.compile(draw, sharded=True), program.replicate(jax.device_get(variables))
    rows = program.shard({"label": labels, "example": np.arange(batch, dtype=np.int32)})

    def run() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(fixed, rows))
        return time.perf_counter() - start

    return run


def torch_runner(side: int, batch: int) -> Runner:
    """The same in PyTorch, eager."""
    model, labels = Twin(K, CLASSES, WIDTH, LAYERS, HEAD), torch.arange(batch) % CLASSES

    def run() -> float:
        start = time.perf_counter()
        model.sample(labels, (side, side), PASSES)
        return (time.perf_counter() - start) / PASSES * side * side

    return run


def measure(side: int, batch: int, names: dict[str, tuple[str, int]], rounds: int) -> dict[str, list[float]]:
    """{who: codes per second, round by round}."""
    runners = {who: vqjax_runner(name, side, batch, count) for who, (name, count) in names.items()}
    runners["torch"] = torch_runner(side, batch)
    for run in runners.values():
        run()  # compile, warm up
    found: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            found[name].append(batch * side * side / run())
    return found


def draw_curves(path: Path, found: dict[tuple[int, int], dict[str, list[float]]]) -> None:
    """Codes per second against the batch, a panel for each grid."""
    sides = sorted({side for side, _ in found})
    figure, panels = plt.subplots(1, len(sides), figsize=(3.2 * len(sides), 3), sharey=True, layout="constrained")
    for side, panel in zip(sides, np.atleast_1d(panels)):
        batches = sorted(batch for each, batch in found if each == side)
        for who in found[side, batches[0]]:
            rates = [found[side, batch][who] for batch in batches]
            panel.loglog(batches, [statistics.median(rate) for rate in rates], marker=".", label=who)
            panel.fill_between(batches, [min(rate) for rate in rates], [max(rate) for rate in rates], alpha=0.2)
        panel.set(title=f"{side} x {side} codes", xlabel="images in a batch", xticks=batches, xticklabels=batches)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    np.atleast_1d(panels)[0].set_ylabel("codes per second")
    np.atleast_1d(panels)[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--grids", type=int, nargs="+", default=GRIDS)
    arguments.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    arguments.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    arguments.add_argument("--out", type=Path, default=Path("docs/images/sampling.png"))
    return arguments


def main() -> None:
    given = parser().parse_args()
    retain_freed_memory()  # as the commands do
    devices.set_cpu_device_count(*given.batches)
    counts = tuple(sorted({1, jax.device_count()}))
    print(f"{described()}; K {K}")
    names = {f"{name}, {count} x cpu": (name, count) for name in given.priors for count in counts}
    print(f"| codes, batch | {', '.join(names)}, codes/s | torch | times as fast (range) |\n| --- | --- | --- | --- |")
    found = {}
    for side, batch in tqdm([(s, b) for s in given.grids for b in given.batches if s * s * b <= CODES], disable=None):
        rates = found[side, batch] = measure(side, batch, names, given.rounds)
        ratios = {name: [a / b for a, b in zip(rates[name], rates["torch"])] for name in names}
        shown = ", ".join(f"{statistics.median(r):.0f} ({min(r):.0f} to {max(r):.0f})" for r in ratios.values())
        ours = ", ".join(f"{statistics.median(rates[name]):,.0f}" for name in names)
        print(f"| {side} x {side}, {batch} | {ours} | {statistics.median(rates['torch']):,.0f} | {shown} |", flush=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    draw_curves(given.out, found)


if __name__ == "__main__":
    main()
