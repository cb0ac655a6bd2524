"""Version of vqjax."""

__version__ = "0.1.0"
