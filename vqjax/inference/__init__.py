"""Trained models, and everything that can be done with one: the Python API."""
