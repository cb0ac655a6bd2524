"""Signals that ask a run to stop, or to save."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from typing import Any

_STOP = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVE = "SIGUSR1"


_own = False


def allow_exit() -> None:
    """From now on the process is known to be there for a command alone: it may be ended."""
    global _own
    _own = True


def exit_allowed() -> bool:
    """Whether `own_process` has said so."""
    return _own


class Stopped(Exception):
    """What takes long is left for a signal, and not finished."""


class SignalHandler:
    """While entered, SIGINT, SIGTERM and SIGHUP ask to stop, SIGUSR1 asks to save; those that a platform has.

    A thread answers at once, even while the main one is in a long call outside Python, as a compilation is: with a
    line that says what will happen; or, where nothing would be lost, and at a second signal, by the end of the process,
    with status 128 + its number. In a process that is not its own, such as a notebook's, the signal then does what it
    would have done without. Outside the main thread, where Python handles no signals, nothing is handled.

    Attributes:
      signal: the number of the one that asks to stop; 0 if none came.
      losing: whether the end of the process would lose something. Where it would, the main thread looks at `signal`.
    """

    def __init__(self) -> None:
        self.signal, self.has_unsaved_steps = 0, False
        self._save = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalHandler":
        if threading.current_thread() is not threading.main_thread():
            return self
        self._told, self._listener = False, socket.socketpair()
        self._listener[1].setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._listener[1].fileno(), warn_on_full_buffer=False)
        for number in filter(None, (getattr(signal, name, None) for name in (*_STOP, _SAVE))):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
                self._previous[number] = signal.signal(number, self._note)
        threading.Thread(target=self._answer, args=(self._listener[0],), name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._previous:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        signal.set_wakeup_fd(self._wakeup)
        for end in self._listener[::-1]:
            end.close()

    def check(self) -> None:
        """Raises Stopped if a signal asked to stop."""
        if self.signal:
            raise Stopped

    def asked_to_save(self) -> bool:
        """Whether a signal asked to save since this was last called."""
        asked, self._save = self._save, False
        return asked

    def _note(self, number: int, frame: Any) -> None:
        if number == getattr(signal, _SAVE, None):
            self._save = True
        elif _own or (self.has_unsaved_steps and not self.signal):
            self.signal = number
        elif callable(handler := self._previous[number]):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _answer(self, signals: socket.socket) -> None:
        """In the thread: what comes over the socket are the numbers of the signals, from their C handler."""
        while True:
            try:
                received = signals.recv(1)
            except OSError:  # closed
                return
            if not received:
                return
            self._tell(signal.Signals(received[0]))

    def _tell(self, number: signal.Signals) -> None:
        if number not in self._previous:
            return
        if number.name == _SAVE:
            _say("SIGUSR1: saving after this step")
        elif self._told or not self.has_unsaved_steps:
            if _own:
                _say("stopped at once" if self._told else stop_message(number))
                _end(128 + number)
        else:
            self._told = True
            _say(f"{number.name}: stopping after this step; again to quit without saving")


def stop_message(number: int) -> str:
    """What is said at the end of a run that a signal has stopped."""
    return f"stopped by {signal.Signals(number).name}; the same command goes on from here"


def _say(text: str) -> None:
    print(f"\n{text}" if sys.stdout.isatty() else text, flush=True)  # on a terminal a bar or ^C stands in the line


def _end(status: int) -> None:
    """Ends the process wherever it is: what is half written lies under a temporary name."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)
