"""Codes, weights and programs for other software, and codes from there."""
