"""Nats of one more code by the number of codes that are known, in random orders, as evaluations have measured them.

They lie in nats_by_known.json of a prior's workdir, {"steps": {step: [nats of the first code, of the second, …]}}, so
that drawing needs no data. A step that is evaluated on several splits has those of the first, validation if there is
one.
"""

from pathlib import Path

import numpy as np

from vqjax.system.files import read_json, write_json

_FILE = "nats_by_known.json"


def record_nats(directory: Path, step: int, nats: np.ndarray) -> None:
    """Add the nats (L,) of a step, unless it has some."""
    steps = _read(directory)
    steps.setdefault(str(step), np.round(nats.astype(float), 5).tolist())
    write_json(directory / _FILE, {"steps": steps})


def read_nats(directory: Path, step: int) -> np.ndarray | None:
    """Return the nats (L,) of a step; None if it was not evaluated.

    They are the closest numbers to those that were measured which do not rise: a code costs no more, on average, if
    more are known, and a choice of groups would take advantage of noise that says otherwise.
    """
    nats = _read(directory).get(str(step))
    if nats is None:
        return None
    from sklearn.isotonic import isotonic_regression  # slow to import

    falling: np.ndarray = isotonic_regression(np.asarray(nats, float), increasing=False)
    return falling


def _read(directory: Path) -> dict[str, list[float]]:
    try:
        return dict(read_json(directory / _FILE)["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
