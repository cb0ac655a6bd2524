"""Signals that ask a run to stop or to save."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from typing import Any

_STOP = ("SIGINT", "SIGTERM", "SIGHUP")
_SAVE = "SIGUSR1"
_exit_allowed = False


def allow_exit() -> None:
    """Let signals end this process, as it runs one command and nothing else."""
    global _exit_allowed
    _exit_allowed = True


def exit_allowed() -> bool:
    """Return whether signals may end this process, see `allow_exit`."""
    return _exit_allowed


class Stopped(Exception):
    """A signal asked to stop, and a long operation was given up."""


class SignalHandler:
    """Context in which SIGINT, SIGTERM and SIGHUP ask to stop, and SIGUSR1 asks to save, where the platform has them.

    A thread answers at once, even while the main thread is in a long call outside Python, such as a compilation. It
    says what will happen. If nothing would be lost, and at a second signal, it ends the process with status 128 + the
    signal's number. In a process that must not end, such as a notebook's, the signal has its usual effect instead.
    Outside the main thread Python handles no signals, and the context does nothing.

    Attributes:
      signal: number of the signal that asked to stop; 0 if none did.
      has_unsaved_steps: whether steps would be lost with the process. Then it is the main thread that must look at
        `signal`, or call `check`.
    """

    def __init__(self) -> None:
        self.signal, self.has_unsaved_steps = 0, False
        self._save_requested = False
        self._previous: dict[int, Any] = {}  # handlers, by the numbers of their signals

    def __enter__(self) -> "SignalHandler":
        if threading.current_thread() is not threading.main_thread():
            return self
        self._announced, self._listener = False, socket.socketpair()
        self._listener[1].setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._listener[1].fileno(), warn_on_full_buffer=False)
        for number in filter(None, (getattr(signal, name, None) for name in (*_STOP, _SAVE))):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
                # None: it was not installed from Python
                self._previous[number] = signal.signal(number, self._handle) or signal.SIG_DFL
        threading.Thread(target=self._listen, args=(self._listener[0],), name="signals", daemon=True).start()
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
        """Raise Stopped if a signal asked to stop."""
        if self.signal:
            raise Stopped

    def asked_to_save(self) -> bool:
        """Return whether a signal asked to save since the last call."""
        requested, self._save_requested = self._save_requested, False
        return requested

    def _handle(self, number: int, frame: Any) -> None:
        """Note a signal, in the main thread, between two operations of Python."""
        if number == getattr(signal, _SAVE, None):
            self._save_requested = True
        elif _exit_allowed or (self.has_unsaved_steps and not self.signal):
            self.signal = number
        elif callable(handler := self._previous[number]):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _listen(self, numbers: socket.socket) -> None:
        """Answer the signals, in the thread: the C handler writes their numbers to the socket."""
        while True:
            try:
                received = numbers.recv(1)
            except OSError:  # closed
                return
            if not received:
                return
            self._answer(signal.Signals(received[0]))

    def _answer(self, number: signal.Signals) -> None:
        """Say what will happen, and end the process if nothing is to be saved."""
        if number not in self._previous:
            return
        if number.name == _SAVE:
            _say("SIGUSR1: saving after this step")
        elif self._announced or not self.has_unsaved_steps:
            if _exit_allowed:
                _say("stopped at once" if self._announced else stop_message(number))
                _end_process(128 + number)
        else:
            self._announced = True
            _say(f"{number.name}: stopping after this step; send it again to quit without saving")


def stop_message(number: int) -> str:
    """Return the last line of a run that the signal of this number has stopped."""
    return f"stopped by {signal.Signals(number).name}; run the same command to resume"


def _say(text: str) -> None:
    print(f"\n{text}" if sys.stdout.isatty() else text, flush=True)  # on a terminal a bar or ^C stands in the line


def _end_process(status: int) -> None:
    """End the process at once, with its children. Half-written files have temporary names."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)
