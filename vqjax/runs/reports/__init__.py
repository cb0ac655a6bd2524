"""Reports: the figures of a run in files, and pages made of them.

writer.py       metrics.jsonl, timing.jsonl and the trackers, while a run is trained
lines.py        JSON lines, read again
report.py       report.md, a run on one page
features.py     features.json, figures on the features of a classifier
likelihood.py   what the bits of a prior bound, and its nats by steps
comparison.py   runs side by side
tables.py       tables in Markdown and CSV
"""
