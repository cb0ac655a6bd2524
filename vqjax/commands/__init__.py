"""The commands: arguments, one call of the Python API, and what is printed."""
