"""Steps, optimizers, evaluation and the loop."""
