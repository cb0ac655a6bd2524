"""vqjax: images to discrete codes, models of the codes, and back, in JAX."""

__version__ = "0.1.0"
