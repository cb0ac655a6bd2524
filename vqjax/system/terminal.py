"""Output for a person: progress as a bar on a terminal and as lines in a file, and the end of a run."""

import contextlib
import io
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vqjax.system.text import printable, printable_lines

FIRST_METRICS_SECONDS = 1.0  # between looks at the metrics of the first steps, until some are logged
_WIDTH = 100  # columns
_METRICS_IN_BAR = 2
_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "codes_used": "codes used", "top5": "top-5 accuracy"}
_UNITS = {"psnr": " dB"}


def escape_unencodable() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def timed(action: str) -> Iterator[None]:
    """Print `action` to stdout before a block that may take long, and its seconds after it; nothing for ""."""
    if not action:
        yield
        return
    stream, started = sys.stdout, time.perf_counter()
    line = f"{printable(action)} … "
    print(line, end="", file=stream, flush=True)
    try:
        yield
    except BaseException:
        print(file=stream)
        raise
    again = f"\r{line}" if stream.isatty() else ""  # a bar may have taken its place
    print(f"{again}{time.perf_counter() - started:.1f} s", file=stream, flush=True)


def starting_jax(shown: bool = True) -> contextlib.AbstractContextManager[None]:
    """Print the line "starting JAX …" around a command's imports of modules that need JAX, if it has not started."""
    return timed("starting JAX" if shown and "jax" not in sys.modules else "")


def wrap(text: str, indent: str = "  ") -> str:
    """Break a text into lines of at most 100 characters. Paths and other long words stay whole."""
    text = printable_lines(text)
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def display_path(path: Path) -> str:
    """Return a path for a person, relative if it lies below the current directory."""
    return printable(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))


def format_metrics(metrics: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Return metrics in one line: those named, or all that are numbers."""
    chosen = [name for name in names or metrics if isinstance(metrics.get(name, ""), int | float | None)]
    return ", ".join(f"{_NAMES.get(name, name.replace('_', ' '))} {_number(name, metrics[name])}" for name in chosen)


def _number(name: str, value: float | None) -> str:
    if value is None:  # null, as JSON has a number that is not finite
        return "not finite"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}{_UNITS.get(name, '')}"


def _has_width(stream: Any) -> bool:
    """Return False for a terminal of 0 columns, as in some containers: a bar would not show."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):  # no terminal, or one of Python's own
        return True


class Progress:
    """Progress of a run: on a terminal a bar with rate, time left and latest metrics; elsewhere a line per log."""

    def __init__(self, first: int, steps: int, batch_size: int, names: Sequence[str]):
        """Start the progress.

        Args:
          first: number of steps done before.
          steps: number of steps of the whole run.
          batch_size: images per step.
          names: metrics to show; the bar has the first of them.
        """
        self._steps, self._batch_size, self._names = steps, batch_size, names
        self._last_look: float | None = time.perf_counter()  # None once metrics have been logged
        self._bar = tqdm(
            total=steps * batch_size,
            initial=first * batch_size,
            desc=self._at(first),
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if _has_width(sys.stderr) else True,
            bar_format="{desc} |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}",
        )
        self._prints_lines = self._bar.disable or not sys.stdout.isatty()

    def _at(self, done: int) -> str:
        return f"step {done:,}/{self._steps:,}"

    @contextlib.contextmanager
    def timed(self, action: str) -> Iterator[None]:
        """Print `action` and its seconds above the bar, like the function `timed`. The rate does not count them."""
        self._bar.clear()
        with timed(action):
            yield
        self._bar.unpause()

    @contextlib.contextmanager
    def beside(self, done: int, action: str) -> Iterator[None]:
        """Show `action` in the bar, after `done` steps. The rate does not count its time."""
        self._bar.set_description_str(f"{self._at(done)}, {printable(action)}")
        yield
        self._bar.set_description_str(self._at(done), refresh=False)
        self._bar.unpause()

    def step(self, done: int, count: int, latest: Callable[[], Mapping[str, float]]) -> None:
        """Advance to `done` steps, the last `count` of them new.

        The bar shows the metrics that `latest` returns every second, until some have been logged.
        """
        if not self._bar.disable:
            self._bar.set_description_str(self._at(done), refresh=False)
            waited = self._last_look is not None and time.perf_counter() - self._last_look > FIRST_METRICS_SECONDS
            if waited and (metrics := latest()):
                self._show(metrics)
                self._last_look = time.perf_counter()
        self._bar.update(count * self._batch_size)

    def log(self, done: int, metrics: Mapping[str, float], rate: float) -> None:
        """Show the metrics since the last log, and the rate in images per second."""
        self._last_look = None
        self._show(metrics)
        if self._prints_lines:
            self.line(f"step {done:,}: {format_metrics(metrics, self._names)}, {rate:,.0f} images/s")

    def _show(self, metrics: Mapping[str, float]) -> None:
        self._bar.set_postfix_str(format_metrics(metrics, self._names[:_METRICS_IN_BAR]), refresh=False)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.write(wrap(text))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


def summary(workdir: Path, result: str, next_commands: Sequence[str], seconds: Mapping[str, float]) -> str:
    """Return the last lines of a run: its result, its files, the seconds of each phase, and commands to type next."""
    pictures = sorted(path.name for path in workdir.iterdir() if path.suffix in (".png", ".gif"))
    phases = ", ".join(f"{phase} {duration:,.1f} s" for phase, duration in seconds.items())
    lines = [
        result,
        f"in {display_path(workdir)}:",
        wrap(f"  pictures  {', '.join(pictures)}", " " * 12),
        "  figures   report.md, eval.json, metrics.jsonl",
        wrap(f"  time      {phases}", " " * 12),
    ]
    return "\n".join(lines + [f"{'next:' if not i else '':<6}{line}" for i, line in enumerate(next_commands)])
