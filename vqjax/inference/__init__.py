"""Trained models in Python: loading one, and everything that can be done with it."""
