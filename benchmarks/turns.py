"""Comparisons in turn: sides in processes of their own, and the seconds of a step, round by round."""

import contextlib
import io
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from vqjax.system import memory
from vqjax.training import loop


class Apart:
    """One side of a comparison in a process of its own, which sleeps while another side is measured.

    Args:
      make: makes the side there: what takes so many steps, as a `Twin`; it and its arguments can be pickled.

    Raises:
      RuntimeError: it cannot be made, with the reason.
    """

    def __init__(self, make: Callable[[], Callable[[int], float]]):
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make), daemon=True)
        self._process.start()
        other.close()
        self._reply()

    def _reply(self) -> float:
        found = self._end.recv()
        if isinstance(found, str):
            raise RuntimeError(found)
        return found

    def __call__(self, steps: int) -> float:
        """Takes steps there; the loss after the last."""
        self._end.send(steps)
        return self._reply()

    def close(self) -> None:
        """Ends the process."""
        self._end.close()
        self._process.join()


def _serve(end: Connection, make: Callable[[], Callable[[int], float]]) -> None:
    """In the other process: make the side, then take as many steps as are asked for, until nobody asks."""
    memory.retain_freed_memory()
    try:
        run = make()
        end.send(0.0)
        while True:
            end.send(run(end.recv()))
    except EOFError:
        return
    except Exception as error:  # whatever it is: it goes to the process that asks
        end.send(f"{type(error).__name__}: {error}")


class _Enough(Exception):
    """Ends a run that has been measured."""


def loop_seconds(
    config: ConfigDict, workdir: Path, rounds: int, steps: int, between: Callable[[], None]
) -> list[float]:
    """The seconds per step of the whole loop of `train.py`, in rounds.

    Args:
      config: of the run.
      workdir: its place, in which it is left unfinished.
      rounds: how many; one before them, which compiles, is not counted.
      steps: of a round, after which a line is logged.
      between: called after each, while the loop stands still.
    """
    config.steps = max(config.steps, (rounds + 2) * steps)  # not fewer than its schedules are made for
    config.update({"log_every": steps, "eval_every": 2**30, "save_every": 2**30})
    seconds: list[float] = []
    resumed = 0.0

    def end_of_round(step: int) -> None:
        nonlocal resumed
        if step % steps:
            return
        jax.block_until_ready(jax.live_arrays())  # the steps in flight
        if resumed:
            seconds.append((time.perf_counter() - resumed) / steps)
        if len(seconds) == rounds:
            raise _Enough
        between()
        resumed = time.perf_counter()

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(_Enough):
        loop.train(config, workdir, on_step=end_of_round)
    return seconds


def seconds(run: Callable[[int], Any], steps: int) -> float:
    """Time of a step, in so many at once."""
    started = time.perf_counter()
    run(steps)
    return (time.perf_counter() - started) / steps


def in_turn(
    config: ConfigDict, others: Mapping[str, Callable[[int], float]], place: Path, rounds: int, seconds_of_round: float
) -> dict[str, list[float]]:
    """The seconds per step, round by round, of the whole loop of `train.py`, "vqjax", and of others between its rounds.

    Args:
      config: of the run.
      others: each takes so many steps; by the first it is found how many last as long as a round.
      place: a directory.
      rounds: how many.
      seconds_of_round: about; a round has two steps or more.
    """
    found: dict[str, list[float]] = {name: [] for name in others}
    for run in others.values():
        run(2)  # compiles, or warms up
    steps = max(2, round(seconds_of_round / seconds(next(iter(others.values())), 3)))

    def between() -> None:
        for name, run in others.items():
            found[name].append(seconds(run, steps))

    with tempfile.TemporaryDirectory(dir=place) as workdir:
        return {"vqjax": loop_seconds(config, Path(workdir) / "run", rounds, steps, between), **found}
