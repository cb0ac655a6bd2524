"""What a run tells a person while it trains: on a terminal a bar, in a file a line now and then."""

import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

_WIDTH = 100  # columns
_SOON = 1.0  # seconds between looks at the first figures
_SHOWN = 2  # figures beside the bar
_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "codes_used": "codes used", "top5": "top-5 accuracy"}
_UNITS = {"psnr": " dB"}


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Says what is being done that may take long, and then how long it took; nothing of ""."""
    if not what:
        yield
        return
    since = time.perf_counter()
    print(f"{what} …", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print()
        raise
    again = f"\r{what} … " if sys.stdout.isatty() else ""  # a bar may have taken its place
    print(f"{again}{time.perf_counter() - since:.1f} s", flush=True)


def wrap(text: str, indent: str = "  ") -> str:
    """A text in lines of at most 100 characters; paths and other long words stay whole."""
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def display_path(path: Path) -> str:
    """A path for a person: from the current directory if it lies below that."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def format_metrics(figures: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Figures for a person in one line: those of the names, or all that are numbers."""
    chosen = [name for name in names or figures if isinstance(figures.get(name, ""), int | float | None)]
    return ", ".join(f"{_NAMES.get(name, name.replace('_', ' '))} {_number(name, figures[name])}" for name in chosen)


def _number(name: str, value: float | None) -> str:
    if value is None:  # as JSON has what is not finite
        return "not finite"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}{_UNITS.get(name, '')}"


class Progress:
    """How far a run is: a bar with its rate, the time left and the latest figures; in a file, lines."""

    def __init__(self, first: int, steps: int, batch_size: int, names: Sequence[str]):
        """`names` are those of the figures that are shown, the bar's first."""
        self._steps, self._size, self._names = steps, batch_size, names
        self._soon = time.perf_counter()
        self._bar = tqdm(
            total=steps * batch_size,
            initial=first * batch_size,
            desc=self._at(first),
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None,
            bar_format="{desc} |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}",
        )
        self._lines = self._bar.disable or not sys.stdout.isatty()

    def _at(self, done: int) -> str:
        return f"step {done:,}/{self._steps:,}"

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """As the function, above the bar, whose rate and time left do not count it."""
        self._bar.clear()
        with timed(what):
            yield
        self._bar.unpause()

    @contextlib.contextmanager
    def beside(self, done: int, what: str) -> Iterator[None]:
        """While something else is done after so many steps, the bar says so; its rate does not count it."""
        self._bar.set_description_str(f"{self._at(done)}, {what}")
        yield
        self._bar.set_description_str(self._at(done), refresh=False)
        self._bar.unpause()

    def step(self, done: int, taken: int, latest: Callable[[], Mapping[str, float]]) -> None:
        """So many steps are done, `taken` of them now.

        Until figures have been logged, those of `latest` are shown every second.
        """
        if not self._bar.disable:
            self._bar.set_description_str(self._at(done), refresh=False)
            if self._soon and time.perf_counter() - self._soon > _SOON and (figures := latest()):
                self._show(figures)
                self._soon = time.perf_counter()
        self._bar.update(taken * self._size)

    def log(self, done: int, figures: Mapping[str, float], rate: float) -> None:
        """The figures since the last time, with the images per second."""
        self._soon = 0.0
        self._show(figures)
        if self._lines:
            self.line(f"step {done:,}: {format_metrics(figures, self._names)}, {rate:,.0f} images/s")

    def _show(self, figures: Mapping[str, float]) -> None:
        self._bar.set_postfix_str(format_metrics(figures, self._names[:_SHOWN]), refresh=False)

    def line(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(wrap(text))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


def summary(workdir: Path, result: str, following: Sequence[str], seconds: Mapping[str, float]) -> str:
    """The end of a run: its figures, its pictures, the seconds of each phase, and the commands that may come next."""
    pictures = sorted(path.name for path in workdir.iterdir() if path.suffix in (".png", ".gif"))
    lines = [
        result,
        f"in {display_path(workdir)}:",
        wrap(f"  pictures  {', '.join(pictures)}", " " * 12),
        "  figures   report.md, eval.json, metrics.jsonl",
        wrap(f"  time      {', '.join(f'{phase} {took:,.1f} s' for phase, took in seconds.items())}", " " * 12),
    ]
    return "\n".join(lines + [f"{'next:' if not i else '':<6}{line}" for i, line in enumerate(following)])
