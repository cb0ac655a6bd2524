"""Codes of several layouts, drawn at random, and their description."""

import numpy as np

from vqjax.codes import CodeLayout, Level, single_level
from vqjax.data.formats import nanogpt, npy, parquet

LAYOUTS = {
    "image": single_level((2, 3), 16),
    "clip": single_level((4, 2, 3), 300),
    "residual": single_level((2, 3), 16, depth=3),
    "levels": CodeLayout((Level("top", (1, 2), 300), Level("bottom", (2, 4), 16, 2))),
}
MODULES = {"npy": npy, "nanogpt": nanogpt, "parquet": parquet}
NAMES = ["a/1.png", "a/\N{SNOWMAN}\\x41.png", "b/line\nbreak\r\x85\u2028.png", "b/\udcff\udc80.png", "$<&>\x1b[31m"]


def description(layout, class_names=("a", "b", "c")):
    rest = {"order": "raster", "dataset": "made up", "class_names": list(class_names), "fingerprint": "f" * 64}
    return {"layout": layout, **rest}


def random_codes(layout, count, seed=0, classes=3):
    """{name of the layout: codes of `count` images} and their labels."""
    rng = np.random.default_rng(seed)
    codes = {
        name: rng.integers(0, level.num_codes, (count, *level.shape)).astype(level.dtype)
        for name, level in layout.names.items()
    }
    return codes, rng.integers(0, classes, count).astype(np.int32)


def in_parts(codes, *sizes):
    """The rows of arrays in parts of these sizes, and one of the rest."""
    count, start = len(next(iter(codes.values()))), 0
    for size in (*sizes, count - sum(sizes)):
        yield {name: array[start : start + size] for name, array in codes.items()}
        start += size
