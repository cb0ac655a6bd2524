"""Keys of examples, from which each part of a network has its own noise."""

import jax


def fold_in(keys: jax.Array | None, number: int) -> jax.Array | None:
    """Return `jax.random.fold_in` of each key (B,), or None for None."""
    return None if keys is None else jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
