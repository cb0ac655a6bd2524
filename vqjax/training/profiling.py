"""A trace of some steps of a run, for Perfetto or TensorBoard."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

_FIRST = 3  # steps before it: they compile, and fill the queue


def start_trace(directory: Path) -> None:
    """Start a trace, which `jax.profiler.stop_trace` writes."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # every call of Python would fill the file before the steps are done
    jax.profiler.start_trace(str(directory), create_perfetto_trace=True, profiler_options=options)


def trace_files(directory: Path) -> list[Path]:
    """The traces in a directory, for Perfetto, the latest last."""
    return sorted(directory.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime)


@contextlib.contextmanager
def profiled(update: Callable, directory: Path, steps: int) -> Iterator[Callable]:
    """Yield the compiled step; a trace of so many of its calls, after the first few, is written when they are done.

    If the block ends before, so does the trace. Its path is printed at the end. With 0 steps there is no trace.
    """
    numbers, running, taken = itertools.count(), False, 0

    def stop() -> None:
        nonlocal running
        jax.profiler.stop_trace()
        running = False

    def traced_update(state: Any, batch: Any) -> tuple[Any, Any]:
        nonlocal running, taken
        number = next(numbers)
        if number == _FIRST:
            jax.block_until_ready(state)
            start_trace(directory)
            running = True
        with jax.profiler.StepTraceAnnotation("step", step_num=number):
            state, metrics = update(state, batch)
        if running:
            taken += 1
            if taken == steps:
                jax.block_until_ready(state)
                stop()
        return state, metrics

    try:
        yield traced_update if steps else update
    finally:
        if running:
            stop()
    if steps:
        _report(directory, taken)


def _report(directory: Path, taken: int) -> None:
    """Print where a trace lies."""
    files = trace_files(directory)
    if not taken or not files:
        print(f"no profile: the run had no more than {_FIRST} steps to take")
        return
    print(f"profile of {taken} steps, open it in https://ui.perfetto.dev: {files[-1]}")
    print(f"or, with tensorboard-plugin-profile: tensorboard --logdir {directory}")
