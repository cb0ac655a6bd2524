"""Pictures of a run. Slow to import: not before there is something to draw.

backend.py   Matplotlib itself
charts.py    curves, bars and matrices, by Matplotlib
images.py    grids of images and films, by Pillow
fonts.py     fonts for texts of users
"""

import vqjax.runs.plots.backend  # noqa: F401  (before anything else that needs Matplotlib)
from vqjax.runs.plots.charts import (
    save_codes_by_class,
    save_comparison,
    save_confusion,
    save_curves,
    save_maps,
    save_nats_by_steps,
    save_runs,
    save_usage,
)
from vqjax.runs.plots.images import save_film, save_grid, save_pictures

__all__ = [
    "save_codes_by_class",
    "save_comparison",
    "save_confusion",
    "save_curves",
    "save_film",
    "save_grid",
    "save_maps",
    "save_nats_by_steps",
    "save_pictures",
    "save_runs",
    "save_usage",
]
