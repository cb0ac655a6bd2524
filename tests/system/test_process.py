"""How commands end."""

import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from helpers import command

from vqjax.system.errors import InputError
from vqjax.system.process import exit_status


@pytest.mark.parametrize(
    "error, expected, shown",
    [(None, 0, ""), (InputError("--num=0"), 2, "error: --num=0\n"), (KeyboardInterrupt(), 130, "")],
)
def test_a_command_ends_with_a_status_and_without_a_traceback(capsys, error, expected, shown):
    def main():
        if error:
            raise error

    assert exit_status(main) == expected and capsys.readouterr().err == shown


def test_what_main_returns_is_the_status():
    assert exit_status(lambda: 143) == 143


def test_a_platform_without_a_device_is_named():
    """JAX's own message is an AssertionError, or 40 lines."""
    script = "from vqjax.system.process import run_command; run_command(lambda _: __import__('jax').devices())"
    environment = {**os.environ, "JAX_PLATFORMS": "abacus"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr == "error: JAX_PLATFORMS=abacus: JAX finds no such device\n"


@pytest.mark.parametrize("lines", [1, 99_999])
def test_a_command_ends_where_nobody_reads_what_it_prints(lines):
    """As after `| head`: of a few lines at its end, of more in the middle."""
    reader, writer = os.pipe()
    os.close(reader)
    lines = f"[print('a line') for _ in range({lines})] and 0"
    script = f"from vqjax.system.process import run_command; run_command(lambda _: {lines})"
    done = command("-c", script, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 141 and done.stderr == ""


@pytest.mark.parametrize("error", [RuntimeError("a fault"), AssertionError(), BrokenPipeError()])
def test_other_errors_keep_their_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)):
        exit_status(main)
