"""Flax modules without a loss."""
