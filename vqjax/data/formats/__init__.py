"""Codes on disk: NumPy, nanoGPT and Parquet."""
