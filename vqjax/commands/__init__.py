"""The commands. A module of each has `parser()`, its arguments, and `run(given)`, one call and what is printed."""
