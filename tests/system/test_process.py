"""How commands end, and their output in any encoding."""

import os
import subprocess

import pytest
from helpers import ENVIRONMENT, command

from vqjax.system.errors import InputError
from vqjax.system.process import exit_status


def run(main, **options):
    """Run a command whose `main` is this expression."""
    return command("-c", f"from vqjax.system.process import run_command; run_command(lambda _: {main})", **options)


@pytest.mark.parametrize(
    "error, status, shown",
    [
        (None, 0, ""),
        (InputError("--num=0"), 2, "error: --num=0\n"),
        (InputError("a\x1b[2J\u202e.png\nexpected: \udcff"), 2, "error: a\\x1b[2J\\u202e.png\nexpected: \\xff\n"),
        (PermissionError(13, "Permission denied", "a\nb"), 2, "error: a\\nb: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_command_ends_with_a_status_and_without_a_traceback(capsys, error, status, shown):
    def main():
        if error:
            raise error

    assert exit_status(main) == status and capsys.readouterr().err == shown


def test_the_result_of_main_is_the_status():
    assert exit_status(lambda: 143) == 143


def test_a_platform_without_a_device_is_named():
    """JAX's own message is an AssertionError, or 40 lines."""
    done = run("__import__('jax').devices()", env={**os.environ, "JAX_PLATFORMS": "abacus"})
    message = "JAX_PLATFORMS=abacus: JAX finds no such device; unset it to use what there is"
    assert done.returncode == 2 and done.stderr == f"error: {message}\n"


@pytest.mark.parametrize("lines", [1, 99_999])
def test_a_command_ends_when_nobody_reads_its_output(lines):
    """As after `| head`: a few lines fail at the end, many in the middle."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run(
        f"[print('a line') for _ in range({lines})] and 0",
        capture_output=False,
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert done.returncode == 141 and done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
def test_output_never_raises(encoding):
    """Whatever the encoding lacks is escaped; of UTF-8 that is a byte of a file name that is no text."""
    text = "é … 寺 \udcff"
    done = run(f"print({text!r})", env={**ENVIRONMENT, "PYTHONIOENCODING": encoding}, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.strip() == text.encode(encoding, "backslashreplace")


@pytest.mark.parametrize("error", [RuntimeError("a fault"), AssertionError(), BrokenPipeError()])
def test_other_errors_keep_their_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)):
        exit_status(main)
