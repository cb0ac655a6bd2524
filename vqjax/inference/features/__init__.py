"""Sets of images compared by the features that a classifier of the same data has of them.

bootstrap.py       intervals, by resampling images
frechet.py         FD-own, the Fréchet distance
kernels.py         KID, the squared maximum mean discrepancy
neighborhoods.py   precision, recall, density, coverage, memorization
comparison.py      all of them for two sets
classifiers.py     the classifier of a run, if it is of the same images
sets.py            the sets of a run: test and train, reconstructions, samples
score.py           a classifier trained on samples alone
evaluation.py      the comparisons of a run, as features.json and report.md have them

See docs/metrics.md.
"""
