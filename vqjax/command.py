"""How a command ends: with a status, and without a traceback."""

import sys
from collections.abc import Callable

from vqjax.config import InputError


def status(main: Callable[[], int | None]) -> int:
    """What `main` returns, None being 0; 2 after an InputError, which is shown, and 130 if Ctrl-C stopped it.

    Whatever it writes must appear whole or not at all.
    """
    try:
        return main() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
