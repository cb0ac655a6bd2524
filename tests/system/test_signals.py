"""Signals, sent to processes of their own."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from vqjax.system.signals import SignalHandler

USUAL_HANDLERS = """
import signal
for name in ("SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
# In a call outside Python, where no Python handler runs, for a minute or until a signal ends the process.
WAITING = """
import sys, threading
import numpy as np
from vqjax.system.signals import SignalHandler, allow_exit
allow_exit()
x = np.random.default_rng(0).normal(size=(1500, 1500))
with SignalHandler() as handler:
    handler.has_unsaved_steps = sys.argv[1] == "unsaved"
    print("ready", flush=True)
    for _ in range(30):
        np.linalg.svd(x)
        if handler.asked_to_save():
            print("saved", flush=True)
"""
COLLECTING_GARBAGE = """
import gc, os, signal, time
from vqjax.system.process import run_command

def _xla_gc_callback(*arguments):
    gc.callbacks.clear()
    os.kill(os.getpid(), signal.SIGINT)

def main(arguments):
    gc.callbacks.append(_xla_gc_callback)
    gc.collect()
    for _ in range(1000):  # a signal that comes just before one sleep ends the next
        time.sleep(0.1)

run_command(main)
"""
STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def start(script, *arguments):
    """Start a process in which no signal is ignored, as SIGHUP would be under nohup."""
    return subprocess.Popen(
        [sys.executable, "-c", USUAL_HANDLERS + script, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def waiting(request):
    process = start(WAITING, request.param)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", STOP)
@pytest.mark.parametrize("waiting", ["idle"], indirect=True)
def test_a_signal_ends_the_process_at_once_if_nothing_would_be_lost(waiting, number):
    waiting.send_signal(number)
    assert waiting.stdout.readline() == f"stopped by {number.name}; run the same command to resume\n"
    assert waiting.wait(30) == 128 + number


@pytest.mark.parametrize("waiting", ["unsaved"], indirect=True)
def test_with_unsaved_steps_a_signal_is_answered_at_once_and_the_second_ends_the_process(waiting):
    waiting.send_signal(signal.SIGTERM)
    assert waiting.stdout.readline() == "SIGTERM: stopping after this step; send it again to quit without saving\n"
    assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(30) == 130


@pytest.mark.parametrize("waiting", ["unsaved"], indirect=True)
def test_sigusr1_asks_to_save_and_ends_nothing(waiting):
    waiting.send_signal(signal.SIGUSR1)
    assert waiting.stdout.readline() == "SIGUSR1: saving after this step\n"
    assert waiting.stdout.readline() == "saved\n"
    assert waiting.poll() is None


def test_ctrl_c_while_python_collects_garbage_is_not_lost():
    """JAX has a callback there, in which an exception is printed and forgotten."""
    process = start(COLLECTING_GARBAGE)
    try:
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert "Traceback" not in process.communicate()[1]


@pytest.fixture
def usual_sigint():
    """Handle SIGINT as Python does, by a KeyboardInterrupt, as in a notebook."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_process_that_may_not_be_ended_lives_on(usual_sigint):
    """A notebook's process lives on after its cell; steps that would be lost are saved first."""
    with pytest.raises(KeyboardInterrupt), SignalHandler():
        signal.raise_signal(signal.SIGINT)
    with SignalHandler() as handler:
        handler.has_unsaved_steps = True
        signal.raise_signal(signal.SIGINT)
        assert handler.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
