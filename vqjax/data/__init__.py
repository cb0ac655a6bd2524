"""Where images and codes come from, and in which order."""
