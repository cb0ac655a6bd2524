"""Checks of what is asked of a prior, before anything is compiled: known codes, orders, steps, guidance."""

import numpy as np

from vqjax.networks.priors.base import Prior
from vqjax.system.errors import InputError


def check_known(prior: Prior, known: np.ndarray, key: str) -> None:
    """Raise InputError, naming `key`, unless the prior can draw the codes that are -1 in `known` (N, L)."""
    layout = prior.layout
    if known.ndim != 2 or known.shape[1] != layout.length:
        raise InputError(f"{key}: expected {layout.length} codes per image, found an array of shape {known.shape}")
    if np.any(known < -1) or np.any(known >= layout.num_codes):
        raise InputError(f"{key}: expected codes from 0 to below K in {layout}, found {known.min()} to {known.max()}")
    own = known[:, prior.modeled]
    if not prior.any_order and np.any((own[:, 1:] >= 0) & (own[:, :-1] < 0)):
        raise InputError(f"{key}: expected to keep codes from the upper left on, row by row; {_raster_only(prior)}")


def check_order(prior: Prior, order: np.ndarray, key: str) -> None:
    """Raise InputError, naming `key`, unless `order` (L,) or (N, L) permutes the places and the prior can follow it."""
    raster = np.arange(prior.layout.length)
    if order.shape[-1:] != raster.shape or np.any(np.sort(order, axis=-1) != raster):
        raise InputError(f"{key}: expected a permutation of the numbers 0 to {len(raster) - 1}")
    if not prior.any_order and np.any(order != raster):
        raise InputError(f"{key}: expected raster order; {_raster_only(prior)}")


def check_steps(prior: Prior, steps: int, key: str) -> None:
    """Raise InputError, naming `key`, unless the prior can draw an image's codes in so many steps."""
    length = prior.layout.length
    if not 1 <= steps <= length:
        raise InputError(f"{key}={steps}: expected from 1 to {length}, the number of codes of an image")
    if steps < length and not prior.any_order:
        raise InputError(f"{key}={steps}: expected {length}, one code per step; {_raster_only(prior)}")


def check_guidance(prior: Prior, scale: float, key: str) -> None:
    """Raise InputError, naming `key`, for guidance by a prior that has no classes, or is never without one."""
    if scale != 1 and not prior.has_no_class:
        reason = "has no classes" if not prior.num_classes else "knows no images without a class"
        raise InputError(f"{key}={scale}: expected 1, this prior {reason}; a transformer with classes can be guided")


def _raster_only(prior: Prior) -> str:
    name = type(prior).__name__
    return f"this {name} knows raster order alone, a transformer with order='any' and random_share > 0 knows any"
