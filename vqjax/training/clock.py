"""Where the time of a run goes."""

import contextlib
import time
from collections.abc import Iterator

PHASES = ("data", "step", "evaluation", "save")


class Clock:
    """The wall-clock seconds since it was last restarted, by phase; what is no other phase is `step`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._since, self._spent = time.perf_counter(), dict.fromkeys(PHASES, 0.0)

    @contextlib.contextmanager
    def spending(self, phase: str) -> Iterator[None]:
        """While entered, time is spent on a phase."""
        since = time.perf_counter()
        yield
        self._spent[phase] += time.perf_counter() - since

    def spent(self) -> dict[str, float]:
        """{phase: seconds}."""
        others = sum(seconds for phase, seconds in self._spent.items() if phase != "step")
        return {**self._spent, "step": time.perf_counter() - self._since - others}

    @property
    def training(self) -> float:
        """Seconds without evaluation."""
        spent = self.spent()
        return sum(spent.values()) - spent["evaluation"]
