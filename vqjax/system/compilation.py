"""JAX's persistent compilation cache, in the user's cache directory.

<version of jaxlib>-<processor>/    machine code, of no use to another processor

It lies in XDG_CACHE_HOME/vqjax/compiled, else in ~/.cache/vqjax/compiled, and may be deleted at any time. A user who
sets JAX_COMPILATION_CACHE_DIR has it there; with JAX_ENABLE_COMPILATION_CACHE=0 there is none.
"""

import hashlib
import importlib.metadata
import os
import platform
import warnings
from pathlib import Path

from vqjax.system.errors import InputError
from vqjax.system.paths import cache_root

MIN_COMPILE_SECONDS = 0.05  # a program that compiles faster is not stored: to read it would take as long
_CACHE = "JAX_COMPILATION_CACHE_DIR"


def enable_compilation_cache() -> None:
    """Turn the cache on, before JAX is imported, unless its directory cannot be written or the user has set JAX's."""
    if _CACHE in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    try:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, InputError):
        return
    if os.access(directory, os.W_OK):
        os.environ[_CACHE] = str(directory)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(MIN_COMPILE_SECONDS))
        # On a full disk, or with a damaged file, JAX compiles instead.
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def cache_directory() -> Path:
    """Return the cache's directory on this machine. Others may share the home directory."""
    return cache_root() / "compiled" / f"{importlib.metadata.version('jaxlib')}-{_processor()}"


def _processor() -> str:
    """Hexadecimal fingerprint of the processor: it differs where the instructions differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        features = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
    except OSError:  # not Linux
        features = []
    return hashlib.sha256("\n".join([platform.machine(), platform.processor(), *features]).encode()).hexdigest()[:12]
