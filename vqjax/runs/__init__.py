"""What a run leaves, and what it runs on."""
