"""Configs: the annotations that check them, their schema, the flags that set them, and how they are loaded."""
