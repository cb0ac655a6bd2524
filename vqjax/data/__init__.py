"""Sets of images and files of codes: reading, dividing, batching, augmenting."""
