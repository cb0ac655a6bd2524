"""How commands end."""

import pytest

from vqjax.core.command import status
from vqjax.core.config import InputError


@pytest.mark.parametrize(
    "error, expected, shown",
    [(None, 0, ""), (InputError("--num=0"), 2, "error: --num=0\n"), (KeyboardInterrupt(), 130, "")],
)
def test_a_command_ends_with_a_status_and_without_a_traceback(capsys, error, expected, shown):
    def main():
        if error:
            raise error

    assert status(main) == expected and capsys.readouterr().err == shown


def test_what_main_returns_is_the_status():
    assert status(lambda: 143) == 143
