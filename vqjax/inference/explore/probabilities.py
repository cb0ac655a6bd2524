"""Probabilities that a prior gives to the codes of pictures, each given those before it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.codes import CodeLayout
from vqjax.data.sets.base import NO_LABEL
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.tasks.prior import PriorTask

_BATCH = 64  # pictures at a time
_LIKELY, _LIKELY_IN_ALL = 5, 60_000  # codes of the highest probability, at a position and together
RESULTS = "p", "likely", "likely_probabilities"

Pictures = Mapping[str, Any]


def with_probabilities(
    task: PriorTask, variables: Mapping[str, Any], groups: Mapping[str, Pictures]
) -> dict[str, Pictures]:
    """Return groups of pictures with the probabilities of their codes.

    Args:
      task: the prior.
      variables: of its checkpoint.
      groups: of N pictures each, with `codes`, grids (N, h, w) by the suffixes of views, and `labels`, a list or None.

    Returns:
      The groups with `p`, grids (N, h, w), and the codes that are most probable, `likely` and `likely_probabilities`,
      grids (N, n, h, w), by the suffixes of the views that the prior models. A group has none if a picture has no label
      and the prior always needs one.
    """
    labels = {name: _labels(task, group) for name, group in groups.items()}
    known = {name: array for name, array in labels.items() if array is not None}
    result, start = dict(groups), 0
    if not known:
        return result
    sequences = np.concatenate([_sequences(task.layout, groups[name]["codes"]) for name in known])
    found = _measure(task, variables, sequences, np.concatenate([*known.values()]))  # at once: compiled once
    for name, array in known.items():
        rows = slice(start, start + len(array))
        result[name] = {**groups[name], **{key: task.modeled.maps(values[rows]) for key, values in found.items()}}
        start = rows.stop
    return result


def _labels(task: PriorTask, group: Pictures) -> np.ndarray | None:
    """Return the labels (N,) that the prior is told of pictures; None if it needs one that is not there."""
    count = len(next(iter(group["codes"].values())))
    if not task.conditional:
        return np.zeros(count, np.int32)
    labels = np.asarray(group["labels"], np.int32)
    if task.module.has_no_class:
        return np.where(labels == NO_LABEL, len(task.class_names), labels).astype(np.int32)
    return None if np.any(labels == NO_LABEL) else labels


def _sequences(layout: CodeLayout, codes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return grids (N, h, w) by suffixes, maybe among others, as sequences (N, L)."""
    places = layout.maps(np.arange(layout.length))
    sequences = np.empty((len(next(iter(codes.values()))), layout.length), np.int32)
    for suffix, grid in places.items():
        sequences[:, grid] = codes[suffix]
    return sequences


def _measure(
    task: PriorTask, variables: Mapping[str, Any], sequences: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Return `p` (N, n), and `likely` and `likely_probabilities` (N, most, n), of sequences (N, L) and labels (N,)."""
    count = len(sequences) * task.modeled.length
    most = min(_LIKELY, task.modeled.max_codes, _LIKELY_IN_ALL // count)

    def probabilities(variables: Mapping[str, Any], batch: Mapping[str, jax.Array]) -> tuple[jax.Array, ...]:
        with jax.default_matmul_precision("highest"):  # as in sampling
            p = jax.nn.softmax(task.apply_eval(variables, batch))
        own = task.codes(batch)[:, task.module.modeled]
        return jnp.take_along_axis(p, own[..., None], -1)[..., 0], *jax.lax.top_k(p, max(1, most))

    rows = Split(**task.layout.split(task.layout.unflatten(sequences)), label=labels)
    p, top, which = devices.map_split(probabilities, variables, rows, _BATCH, task.settings.parallel, "probabilities")
    ranked = {"likely": which, "likely_probabilities": np.round(top.astype(float), 4)}
    return {"p": p, **{name: np.moveaxis(array[..., :most], -1, 1) for name, array in ranked.items()}}
