"""What XLA has compiled is kept for the next command, in the user's cache directory.

<version of jaxlib>-<processor>/    JAX's persistent compilation cache: machine code, of no use to another processor

It may be deleted at any time. Where it lies: XDG_CACHE_HOME/vqjax/compiled, else ~/.cache/vqjax/compiled. Whoever sets
JAX_COMPILATION_CACHE_DIR has it there; with JAX_ENABLE_COMPILATION_CACHE=0 nothing is kept.
"""

import hashlib
import importlib.metadata
import os
import platform
import warnings
from pathlib import Path

from vqjax.system.errors import InputError
from vqjax.system.paths import cache_root

MIN_COMPILE_SECONDS = 0.05  # what compiles faster is not kept: on a disk it would take as long
_CACHE = "JAX_COMPILATION_CACHE_DIR"


def enable_compilation_cache() -> None:
    """From now on, before JAX is imported; not where a directory cannot be written, nor where the user has a say."""
    if _CACHE in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    try:
        place = cache_directory()
        place.mkdir(parents=True, exist_ok=True)
    except (OSError, InputError):
        return
    if os.access(place, os.W_OK):
        os.environ[_CACHE] = str(place)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(MIN_COMPILE_SECONDS))
        # A disk that is full, a file that is damaged: then it is compiled.
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")


def cache_directory() -> Path:
    """Where it is kept on this machine: homes are shared by several."""
    return cache_root() / "compiled" / f"{importlib.metadata.version('jaxlib')}-{_processor()}"


def _processor() -> str:
    """What tells a processor from one that has other instructions, hexadecimal."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        found = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
    except OSError:  # not Linux
        found = []
    return hashlib.sha256("\n".join([platform.machine(), platform.processor(), *found]).encode()).hexdigest()[:12]
