"""The search for the nearest code against all distances and argmin, and against its products alone, in turn; k-means.

python -m benchmarks.search --positions 4096 --codes 32768 --dim 32

The products alone are made 512 positions at a time, each chunk with all codes, and stored; of each only a few numbers
are read again. Memory is what the compiled program takes beside its inputs and outputs.
"""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.ops.kmeans import kmeans
from vqjax.ops.search import nearest_codes
from vqjax.system import memory

CHUNK = 512
MOST = 2**28  # distances that argmin is measured with


def plain(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """All distances, then argmin."""
    products = jnp.einsum("nd,kd->nk", z, codebook, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(jnp.sum(codebook**2, axis=1) - 2 * products, axis=1)


def products(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """A chunk of them after the other."""
    precision = jax.lax.Precision.HIGHEST
    one = lambda z: jnp.einsum("nd,kd->nk", z, codebook, precision=precision)[:, ::4096].sum(1)  # noqa: E731
    return jax.lax.map(one, z.reshape(-1, CHUNK, z.shape[1]))


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    arguments.add_argument("--positions", type=int, default=4_096, help=f"a multiple of {CHUNK}")
    arguments.add_argument("--codes", type=int, default=32_768)
    arguments.add_argument("--dim", type=int, default=32)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument(
        "--kmeans", type=int, default=0, help="codes of k-means over 20,000 vectors; 0: not measured"
    )
    return arguments


def main() -> None:
    given = parser().parse_args()
    memory.retain_freed_memory()  # as the commands do
    z = jax.random.normal(jax.random.key(0), (given.positions, given.dim))
    codebook = jax.random.normal(jax.random.key(1), (given.codes, given.dim))
    ways = {"nearest": nearest_codes, "products": products}
    if given.positions * given.codes <= MOST:
        ways["argmin"] = plain
    compiled = {name: jax.jit(way).lower(z, codebook).compile() for name, way in ways.items()}
    found = {name: jax.block_until_ready(way(z, codebook)) for name, way in compiled.items()}  # once, unmeasured
    times = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in compiled.items():
            times[name].append(seconds(way, z, codebook))
    rows = {
        name: {
            "median_s": round(statistics.median(times[name]), 4),
            "range_s": [round(end(times[name]), 4) for end in (min, max)],
            "to_products": round(statistics.median(times[name]) / statistics.median(times["products"]), 3),
            "memory_mib": round(way.memory_analysis().temp_size_in_bytes / 2**20, 1),
        }
        for name, way in compiled.items()
    }
    if "argmin" in ways:
        rows["nearest"]["codes_apart_from_argmin"] = int(jnp.sum(found["nearest"] != found["argmin"]))
    if given.kmeans:
        vectors = np.random.default_rng(0).normal(size=(20_000, given.dim)).astype(np.float32)
        rows["kmeans"] = {"seconds": round(seconds(kmeans, vectors, given.kmeans, 0), 2)}
    print(json.dumps({"device": jax.devices()[0].device_kind, **vars(given), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
