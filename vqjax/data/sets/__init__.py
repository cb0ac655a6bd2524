"""The kinds of sets of images: one's own, those of TFDS, and what is read as it is distributed."""
