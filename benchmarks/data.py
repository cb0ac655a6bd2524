"""How fast data comes: batches from memory, photographs that are decoded while they are used, and a set's second start.

python -m benchmarks.data --data_dir ~/tensorflow_datasets

Photographs are JPEGs of 500 x 375 pixels, cut from the two that come with scikit-learn, brought to 128 x 128. Pillow
alone decodes, reduces and crops the same files in as many processes, and sends nothing anywhere.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import vqjax
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.data.batches import batches

SIZE, BATCH = 128, 64
WORKERS = os.cpu_count() or 1


def write_photographs(directory: Path, count: int) -> None:
    """Crops of all sizes as JPEG files, in two classes."""
    photographs, rng = [Image.fromarray(image) for image in load_sample_images().images], np.random.default_rng(0)
    for i in range(count):
        image = photographs[i % 2]
        scale = rng.uniform(0.4, 1)
        width, height = round(scale * image.width), round(scale * image.width * 0.66)
        left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        place = directory / ("china", "flower")[i % 2]
        place.mkdir(exist_ok=True)
        crop = image.resize((500, 375), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        crop.save(place / f"{i}.jpg", quality=90)


def by_pillow(file: Path) -> int:
    """One file as vqjax reads it, by Pillow alone."""
    with Image.open(file) as image:
        image.draft(None, (2 * SIZE, 2 * SIZE))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = left, top, left + side, top + side
        fitted = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC, box)
        return int(np.asarray(fitted).nbytes)


def load(config, *names: str):
    """The splits of a config's data set."""
    return datasets.load_splits(datasets.open_dataset(Settings.of(config).data), names)


def stream(config, seconds: float) -> float:
    """Images a second of the training batches alone."""
    found = batches(load(config, "train")["train"], config.batch_size, 0, True)
    for _ in range(4):
        next(found)  # the processes have started
    since = time.perf_counter()
    count = sum(len(next(found)["label"]) for _ in itertools.takewhile(_before(since + seconds), itertools.count()))
    rate = count / (time.perf_counter() - since)
    found.close()
    return rate


def _before(end: float):
    return lambda _: time.perf_counter() < end


def folder(path: Path):
    """The config of a folder that is streamed."""
    config = vqjax.get_config("folder")
    config.batch_size = BATCH
    config.data.update({"path": str(path), "size": str(SIZE), "memory": 0.0, "workers": WORKERS})
    return config


def photographs(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        write_photographs(Path(directory), count)
        files = sorted(Path(directory).rglob("*.jpg"))
        rates: dict[str, list[float]] = {"Pillow alone": [], "streamed": []}
        with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
            pool.map(by_pillow, files[: 8 * WORKERS])
            for _ in range(rounds):
                since = time.perf_counter()
                pool.map(by_pillow, files, chunksize=16)
                rates["Pillow alone"].append(len(files) / (time.perf_counter() - since))
                rates["streamed"].append(stream(folder(Path(directory)), 5.0))
    print(f"{len(files):,} JPEGs of 500 x 375 to {SIZE} x {SIZE}, {WORKERS} processes, {rounds} rounds in turn")
    for name, found in rates.items():
        print(f"  {name:<14}{statistics.median(found):>9,.0f} images/s   {min(found):,.0f} to {max(found):,.0f}")
    share = statistics.median(b / a for a, b in zip(*rates.values()))
    print(f"  streamed / Pillow alone: {share:.0%}")


def _peak(path: str, count: int) -> None:
    """Prints the most memory of a process, without its workers, that streams so many batches of a folder."""
    found = batches(load(folder(Path(path)), "train")["train"], BATCH, 0, True)
    for _ in range(count):
        next(found)
    found.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def memory(sizes: tuple[int, ...]) -> None:
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            write_photographs(Path(directory), size)
            process = multiprocessing.get_context("spawn").Process(target=_peak, args=(directory, 40))
            print(f"peak memory in MiB, {size:,} photographs streamed: ", end="", flush=True)
            process.start()
            process.join()


def in_memory(data_dir: str) -> None:
    for name, size in (("cifar10_ema", 32), ("cifar10_ema", 256), ("mnist", 256)):
        config = vqjax.get_config(name)
        config.batch_size, config.data.data_dir = size, data_dir
        rates = [stream(config, 1.0) for _ in range(3)]
        print(f"{config.data.name}, batches of {size}: {max(rates):,.0f} images/s, {min(rates):,.0f} at least")


def _start(name: str, data_dir: str, cache: bool) -> None:
    config = vqjax.get_config(name)
    config.data.update({"data_dir": data_dir, "cache": cache})
    since = time.perf_counter()
    load(config, "train", "validation", "test")
    print(f"{time.perf_counter() - since:.2f} s")


def starts(data_dir: str) -> None:
    _run = multiprocessing.get_context("spawn").Process
    for text, cache in (("decoded", False), ("decoded, unless it is kept", True), ("kept", True)):
        print(f"mnist, {text}: ", end="", flush=True)
        process = _run(target=_start, args=("mnist", data_dir, cache))
        process.start()
        process.join()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    arguments.add_argument(
        "--data_dir", default="", help="where TFDS has MNIST and CIFAR-10; without it, photographs only"
    )
    arguments.add_argument("--count", type=int, default=1_000, help="photographs")
    arguments.add_argument("--rounds", type=int, default=5)
    return arguments


def main():
    arguments = parser().parse_args()
    photographs(arguments.count, arguments.rounds)
    memory((arguments.count, 4 * arguments.count))
    if arguments.data_dir:
        in_memory(arguments.data_dir)
        starts(arguments.data_dir)


if __name__ == "__main__":
    main()
