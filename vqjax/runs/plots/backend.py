"""Matplotlib, whatever backend the environment names: pictures are drawn into files."""

import contextlib
import os
import sys

if "matplotlib" not in sys.modules:
    named = os.environ.pop("MPLBACKEND", None)  # a name that is none would end the import
    import matplotlib

    if named is not None:
        os.environ["MPLBACKEND"] = named
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = named
