"""Gradient estimators: the output of a quantizer is a code's vector, which does not depend on z smoothly."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_MIN_RATIO = 1e-6  # of the lengths of z and q; below it float32 does not know the direction of the shorter one
_MIN_SQUARE = 1e-6  # of the sum of their directions; below it float32 does not know the sum's direction


def straight_through(z: jax.Array, q: jax.Array) -> jax.Array:
    """Return q with the identity as its gradient to z: z + sg[q - z] (van den Oord et al. 2017, sec. 3.2)."""
    return z + jax.lax.stop_gradient(q - z)


def rotation(z: jax.Array, q: jax.Array) -> jax.Array:
    """Return q as a rotation and scaling of z, both constant to the gradient (Fifty et al. 2024, sec. 4).

    The Jacobian to z is lambda R: lambda = |q| / |z|, and R is the rotation in the plane of z and q that turns the
    direction of z to that of q. R is two reflections, first at z, then at the half-way direction of z and q. Where R
    is not determined, because z and q are opposite or one of them is nearly 0, the gradient is straight-through.

    Args:
      z: (..., D) float32.
      q: (..., D) float32.
    """
    fixed_z, q = jax.lax.stop_gradient((z, q))
    length_z, length_q = (jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (fixed_z, q))
    shorter, longer = jnp.minimum(length_z, length_q), jnp.maximum(length_z, length_q)
    known = shorter > _MIN_RATIO * longer
    from_z, to_q = (x / jnp.where(known, length, 1) for x, length in ((fixed_z, length_z), (q, length_q)))
    half_way = from_z + to_q
    square = jnp.sum(half_way**2, axis=-1, keepdims=True)
    known &= square > _MIN_SQUARE
    scale = jnp.where(known, length_q / jnp.where(known, length_z, 1), 1)
    half_way = half_way / jnp.sqrt(jnp.where(known, square, 1))

    def reflect(x: jax.Array, normal: jax.Array) -> jax.Array:
        return x - jnp.where(known, 2 * jnp.sum(x * normal, axis=-1, keepdims=True) * normal, 0)

    return q + scale * reflect(reflect(z - fixed_z, from_z), half_way)  # z - fixed_z is 0, with the gradient of z


def diveq(z: jax.Array, q: jax.Array) -> jax.Array:
    """Return q as z plus its distance to q along a constant direction (Vali et al. 2025, the detached form).

    y = z + |q - z| sg[v / |v|] with v = q - z. So the gradient g of y is (I - u u') g to z and u u' g to q, where u is
    the direction: together g. Where z = q it is the identity to z.

    Args:
      z: (..., D) float32.
      q: (..., D) float32.
    """
    v = q - z
    square = jnp.sum(v**2, axis=-1, keepdims=True)
    apart = square > 0
    distance = jnp.sqrt(jnp.where(apart, square, 1))
    return z + jnp.where(apart, distance * jax.lax.stop_gradient(v / distance), 0)


class Estimator(NamedTuple):
    """A gradient estimator.

    Attributes:
      output: z (..., D), q (..., D) -> (..., D): q, up to rounding, with a gradient to z.
      trains_codebook: whether the gradient reaches q, too. It then replaces the codebook and commitment losses.
    """

    output: Callable[[jax.Array, jax.Array], jax.Array]
    trains_codebook: bool = False


ESTIMATORS = {
    "straight_through": Estimator(straight_through),
    "rotation": Estimator(rotation),
    "diveq": Estimator(diveq, trains_codebook=True),
}
