"""Networks: Flax modules and likelihoods, as in the papers. None of them has a training loop."""
