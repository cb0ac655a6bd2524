"""What a run tells a person while it trains: on a terminal a bar, in a file a line now and then."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

_SOON = 1.0  # seconds between looks at the first figures
_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "codes_used": "codes used", "top5": "top-5 accuracy"}
_UNITS = {"psnr": " dB"}


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Says what is being done that may take long, and then how long it took."""
    since = time.perf_counter()
    print(f"{what} …", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print()
        raise
    print(f"{time.perf_counter() - since:.1f} s", flush=True)


def short(path: Path) -> str:
    """A path for a person: from the current directory if it lies below that."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def show(figures: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Figures for a person in one line: those of the names, or all that are numbers."""
    chosen = [name for name in names or figures if isinstance(figures.get(name, ""), int | float | None)]
    return ", ".join(f"{_NAMES.get(name, name.replace('_', ' '))} {_number(name, figures[name])}" for name in chosen)


def _number(name: str, value: float | None) -> str:
    if value is None:  # as JSON has what is not finite
        return "not finite"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}{_UNITS.get(name, '')}"


class Progress:
    """How far a run is: a bar with its rate, the time left and the latest figures; in a file, the lines alone."""

    def __init__(self, first: int, steps: int, batch_size: int, names: Sequence[str]):
        """`names` are those of the figures that are shown."""
        self._size, self._names, self._soon = batch_size, names, time.perf_counter()
        settings = {"unit": " images", "unit_scale": True, "dynamic_ncols": True, "disable": None}
        self._bar = tqdm(total=steps * batch_size, initial=first * batch_size, desc=f"step {first:,}", **settings)

    def step(self, done: int, latest: Callable[[], Mapping[str, float]]) -> None:
        """A step is done; until figures have been logged, those of `latest` are shown every second."""
        if not self._bar.disable:
            self._bar.set_description(f"step {done:,}", refresh=False)
            if self._soon and time.perf_counter() - self._soon > _SOON:
                self._show(latest())
                self._soon = time.perf_counter()
        self._bar.update(self._size)

    def log(self, done: int, figures: Mapping[str, float], rate: float) -> None:
        """The figures since the last time, with the images per second."""
        self._soon = 0.0
        self._show(figures)
        if self._bar.disable:
            self.line(f"step {done:,}: {show(figures, self._names)}, {rate:,.0f} images/s")

    def _show(self, figures: Mapping[str, float]) -> None:
        shown = {name: _number(name, figures[name]) for name in self._names if name in figures}
        self._bar.set_postfix(shown, refresh=False)

    def line(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(text)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


def summary(workdir: Path, result: str, following: Sequence[str]) -> str:
    """The end of a run: its figures, its pictures, and the commands that one may want next."""
    pictures = sorted(path.name for path in workdir.iterdir() if path.suffix in (".png", ".gif"))
    lines = [
        result,
        f"in {short(workdir)}:",
        f"  pictures  {', '.join(pictures)}",
        "  figures   report.md, eval.json, metrics.jsonl",
    ]
    return "\n".join(lines + [f"{'next:' if not i else '':<6}{line}" for i, line in enumerate(following)])
