"""Settings of JAX that would change what vqjax computes, or stop it: it runs under its own."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

# Option of JAX -> the value under which vqjax computes. JAX reads each from the environment too, in capitals.
_NEEDED: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_disable_jit": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
}
_WAYS = "", "_host_to_device", "_device_to_host", "_device_to_device"
_GUARDS = {f"jax_transfer_guard{way}": "allow" for way in _WAYS}  # the same, in the environment alone
_OFF = ("", "0", "n", "no", "off", "f", "false")  # as JAX reads them


def clear_environment() -> None:
    """Take such settings out of the environment, before JAX is imported, and name each in a line on stderr."""
    for option, needed in {**_NEEDED, **_GUARDS}.items():
        text = os.environ.pop(option.upper(), None)
        is_needed = text is None or text.lower() in (_OFF if needed is False else ("", needed))
        if not is_needed:
            shown = 0 if needed is False else needed
            print(f"{option.upper()}={text} is not used: vqjax computes with {shown}", file=sys.stderr)


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Run a block under the settings that vqjax needs, whatever they are outside of it."""
    import jax

    with contextlib.ExitStack() as stack:
        if any(getattr(jax.config, option) != needed for option, needed in _NEEDED.items()):
            stack.enter_context(jax.enable_x64(False))
            stack.enter_context(jax.disable_jit(False))
            stack.enter_context(jax.numpy_dtype_promotion("standard"))
            stack.enter_context(jax.numpy_rank_promotion("allow"))
        yield
