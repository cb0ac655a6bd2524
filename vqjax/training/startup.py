"""Programs compiled in a thread, beside the work that comes before the first step: tracing, k-means, restoring."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import jax


class Startup:
    """Compiles what it is given, one program after another; a program may be waited for, or not asked for at all."""

    def __init__(self) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self._programs = dict[str, concurrent.futures.Future]()

    def submit(self, name: str, lowered: jax.stages.Lowered) -> None:
        """Begin to compile a program."""
        self._programs[name] = self._executor.submit(lowered.compile)

    def result(self, name: str, default: Callable[..., Any] | None = None) -> Any:
        """Wait for a program and return it compiled; the default if it was not submitted."""
        return self._programs[name].result() if name in self._programs else default

    def close(self) -> None:
        """Let the thread end when it has compiled everything."""
        self._executor.shutdown(wait=False)
